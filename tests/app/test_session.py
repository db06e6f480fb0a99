"""What a user works on, from files of every kind and with names of every kind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

from neuralpatch_cuda.app.session import Job, Session, Sessions
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ImageError, MaskError, OutputError
from neuralpatch_cuda.imaging.files import Photograph, read_image, write_image
from neuralpatch_cuda.imaging.metadata import Metadata

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
BOX = (5, 3, 12, 9)
"""Left, top, right and bottom of what masks mark."""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path / "sessions" / "0123", largest=10**6)


@pytest.fixture
def opened(session: Session, tmp_path: Path) -> Session:
    """With a photograph of 30 x 20 px."""
    session.open(saved(tmp_path, Image.fromarray(PIXELS)), "holiday.png")
    return session


def saved(folder: Path, image: Image.Image, suffix: str = ".png", **options: Any) -> Path:
    """An upload, which has another name than what its user calls it."""
    path = folder / f"secret{suffix}"
    image.save(path, **options)
    return path


def marked(box: tuple[int, int, int, int] = BOX, size: tuple[int, int] = (30, 20)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def strokes(box: tuple[int, int, int, int], size: tuple[int, int] = (30, 20)) -> np.ndarray:
    return np.asarray(marked(box, size))


def filled(session: Session) -> Photograph:
    """The photograph with its middle white, as the result."""
    photograph = session.photograph
    assert photograph is not None
    image = photograph.image.copy()
    if isinstance(image, Image.Image):
        image.paste("white", BOX)
    else:
        image[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 65535
    session.result = photograph.with_image(image)
    return session.result


def state(session: Session) -> tuple[object, ...]:
    return session.name, session.photograph, session.picture, session.mask, session.job, session.result


def test_a_photograph_has_its_user_s_name_and_its_own_size(opened: Session) -> None:
    assert opened.name == "holiday.png"
    assert opened.photograph is not None and opened.photograph.size == (30, 20)
    assert (np.asarray(opened.photograph.image) == PIXELS).all()
    assert opened.picture is not None and (np.asarray(opened.picture) == PIXELS).all()


def test_another_photograph_begins_anew(opened: Session, tmp_path: Path) -> None:
    opened.mask = marked()
    opened.ask(Job(marked(), InpaintConfig()))
    filled(opened)
    opened.open(saved(tmp_path, Image.new("RGB", (8, 40))), "b.png")
    assert opened.picture is not None and opened.picture.size == (8, 40)
    assert (opened.mask, opened.job, opened.result) == (None, None, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello", "is not an image that can be read"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "is (not an image that can be read|damaged: .+)"),
        (None, None),
        ("cut", "is damaged: .+"),
        ("mode", "has pixels of PIL mode I, .*"),
    ],
)
def test_what_is_no_photograph_is_told_with_its_user_s_name(
    opened: Session, tmp_path: Path, content: bytes | str | None, words: str | None
) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS))
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif content == "mode":
        path = saved(tmp_path, Image.new("I", (30, 20)), ".tif")
    else:
        path.unlink()
        words = "There is no file"
    before = state(opened)
    with pytest.raises(ImageError) as caught:
        opened.open(path, "note.png")
    text = str(caught.value)
    assert re.fullmatch(rf"note\.png {words}\.|{words} note\.png\.", text)
    assert str(tmp_path) not in text and "secret" not in text
    assert state(opened) == before


def test_too_many_pixels(opened: Session, tmp_path: Path) -> None:
    opened.open(saved(tmp_path, Image.new("1", (1000, 1000))), "just.png")
    before = state(opened)
    with pytest.raises(ImageError) as caught:
        opened.open(saved(tmp_path, Image.new("1", (1001, 1000))), "huge.png")
    assert str(caught.value) == "huge.png is 1001 x 1000 px, more than the 1 megapixels allowed."
    assert state(opened) == before


def test_a_mask_from_a_file(opened: Session, tmp_path: Path) -> None:
    opened.open_mask(saved(tmp_path, marked()), "mask.png", invert=False, resize=False)
    mask = opened.whole_mask(None)
    assert (mask.mode, mask.size) == ("L", (30, 20))
    assert (np.asarray(mask) == np.asarray(marked())).all()


def test_a_mask_is_inverted(opened: Session, tmp_path: Path) -> None:
    rest = Image.eval(marked(), lambda value: 255 - value)
    opened.open_mask(saved(tmp_path, rest), "mask.png", invert=True, resize=False)
    assert (np.asarray(opened.whole_mask(None)) == np.asarray(marked())).all()


def test_a_mask_of_another_size(opened: Session, tmp_path: Path) -> None:
    path = saved(tmp_path, marked(tuple(2 * side for side in BOX), (60, 40)))
    with pytest.raises(MaskError, match=r"^The mask is 60 x 40 px but the image is 30 x 20 px; [^.]+\.$"):
        opened.open_mask(path, "mask.png", invert=False, resize=False)
    assert opened.mask is None
    opened.open_mask(path, "mask.png", invert=False, resize=True)
    assert (np.asarray(opened.whole_mask(None)) == np.asarray(marked())).all()


def test_what_is_no_mask_leaves_the_one_before(opened: Session, tmp_path: Path) -> None:
    opened.mask = marked()
    path = tmp_path / "secret.png"
    path.write_text("hello")
    with pytest.raises(ImageError, match=r"^m\.png is not an image that can be read\.$"):
        opened.open_mask(path, "m.png", invert=False, resize=False)
    with pytest.raises(MaskError, match=r"^The mask is empty[^.]+\.$"):
        opened.open_mask(saved(tmp_path, Image.new("L", (30, 20))), "m.png", invert=False, resize=False)
    assert opened.whole_mask(None).getbbox() == BOX


def test_strokes_and_mask_are_united(opened: Session) -> None:
    opened.mask = marked((0, 0, 4, 20))
    mask = np.asarray(opened.whole_mask(strokes((2, 10, 20, 12))))
    assert (mask == np.maximum(strokes((0, 0, 4, 20)), strokes((2, 10, 20, 12)))).all()
    assert opened.mask.getbbox() == (0, 0, 4, 20)  # strokes can be taken away again


def test_nothing_is_marked(opened: Session, session: Session) -> None:
    for nothing in (None, np.zeros((20, 30), np.uint8), strokes(BOX) // 64):
        with pytest.raises(MaskError, match=r"^Nothing is marked yet: [^.]+\.$"):
            opened.whole_mask(nothing)


def test_first_comes_a_photograph(session: Session, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"^First choose a photograph\.$"):
        session.whole_mask(strokes(BOX))
    with pytest.raises(MaskError, match=r"^First choose a photograph, then its mask\.$"):
        session.open_mask(saved(tmp_path, marked()), "mask.png", invert=False, resize=False)


def test_strokes_land_where_they_were_painted(session: Session, tmp_path: Path) -> None:
    """On a photograph whose sides are no multiples of the canvas's."""
    session.largest = 10**7
    session.open(saved(tmp_path, Image.new("L", (3001, 1407))), "large.png")
    assert session.picture is not None
    size = session.picture.size
    assert max(size) == 1280
    painted = Image.new("L", size)
    ImageDraw.Draw(painted).rectangle((size[0] - 100, 200, size[0] - 1, 399), fill=255)
    mask = session.whole_mask(np.asarray(painted))
    assert mask.size == (3001, 1407)
    x, y = 3001 / size[0], 1407 / size[1]
    assert mask.getbbox() == pytest.approx((3001 - 100 * x, 200 * y, 3001, 400 * y), abs=1.5)
    assert mask.histogram()[0] + mask.histogram()[255] == 3001 * 1407


def test_going_on_makes_the_result_the_photograph(opened: Session) -> None:
    before = state(opened)
    opened.go_on()
    assert state(opened) == before
    opened.mask = marked()
    opened.ask(Job(marked(), InpaintConfig()))
    result = filled(opened)
    opened.go_on()
    assert (opened.name, opened.photograph) == ("holiday.png", result)
    assert (opened.mask, opened.job, opened.result) == (None, None, None)
    assert opened.picture is not None and opened.picture.getpixel(BOX[:2]) == (255, 255, 255)
    with pytest.raises(MaskError):
        opened.whole_mask(None)


@pytest.mark.parametrize(
    ("name", "mode", "written"),
    [
        ("a.b.jpg", "RGB", "a.b_filled.jpg"),
        ("a.JPEG", "L", "a_filled.jpeg"),
        ("a.png", "RGBA", "a_filled.png"),
        ("a.webp", "RGB", "a_filled.webp"),
        ("a.tif", "F", "a_filled.tif"),
        ("a.gif", "RGB", "a_filled.png"),
        ("a", "RGB", "a_filled.png"),
        ("a.jpg", "RGBA", "a_filled.png"),  # a PNG file that was renamed
        ("a.jpg", "I;16", "a_filled.png"),
        ("a b é 日本 ;&$(x).png", "RGB", "a b é 日本 ;&$(x)_filled.png"),
    ],
)
def test_a_result_is_written_as_the_photograph_was(session: Session, name: str, mode: str, written: str) -> None:
    session.name, session.result = name, Photograph(Image.new(mode, (30, 20), 1))
    path = session.write_result()
    assert path.name == written
    with Image.open(path) as image:
        assert Image.registered_extensions()[path.suffix] == image.format
    assert read_image(path).image.mode == mode


def test_sixteen_bits_and_the_profile_are_kept(session: Session, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    write_image(Photograph(pixels, Metadata(PROFILE)), tmp_path / "secret.png")
    session.open(tmp_path / "secret.png", "raw.png")
    result = filled(session)
    again = read_image(session.write_result())
    assert again.image.dtype == np.uint16 and (again.image == result.image).all()
    assert again.metadata.icc_profile == PROFILE
    assert len(np.unique(again.image)) > 256


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../../x.png",
            "a/b.png",
            "/etc/passwd",
            "..",
            "../..",
            ".",
            "",
            ".png",
            "~/x.png",
            "a.png/",
            "..\\..\\x.png",
        ),
        *("a\nb.png", "a?b#c%2e.png", "-rf.png", "a." + "y" * 3000),
    ],
)
def test_no_name_leads_out_of_the_folder(session: Session, tmp_path: Path, name: str) -> None:
    session.open(saved(tmp_path, Image.fromarray(PIXELS)), name)
    filled(session)
    path = session.write_result()
    assert path.resolve() == path and path.parent.parent == session.folder
    written = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert sorted(written) == sorted([path, tmp_path / "secret.png"])
    assert read_image(path).size == (30, 20)


@pytest.mark.parametrize("name", ["x" * 251 + ".png", "é" * 150 + ".png", "x" * 3000, "a\0b.png", "a\ud800b.png"])
def test_names_that_no_file_can_have(session: Session, tmp_path: Path, name: str) -> None:
    session.open(saved(tmp_path, Image.fromarray(PIXELS)), name)
    filled(session)
    path = session.write_result()
    assert path.parent.parent == session.folder and read_image(path).size == (30, 20)


def test_each_file_is_written_apart(session: Session) -> None:
    paths = {session.write_picture(Image.new("RGB", (3, 3), colour), "p.jpg") for colour in ("red", "blue")}
    assert len(paths) == 2 and {path.name for path in paths} == {"p.jpg"}
    assert {Image.open(path).getpixel((1, 1))[0] > 128 for path in paths} == {False, True}


def test_clearing_removes_the_folder_and_the_uploads(opened: Session, tmp_path: Path) -> None:
    uploads = [tmp_path / "secret.png", tmp_path / "secret.bmp", tmp_path / "secret.tif"]
    opened.open_mask(saved(tmp_path, marked(), ".bmp"), "m.bmp", invert=False, resize=False)
    uploads[2].write_text("no image")
    with pytest.raises(ImageError):
        opened.open(uploads[2], "x.tif")
    filled(opened)
    opened.write_result()
    other = tmp_path / "other.png"
    other.touch()
    uploads[1].unlink()  # Gradio removes old files itself
    opened.clear_files()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]
    assert not opened.folder.exists()
    opened.clear_files()


def test_users_have_sessions_of_their_own(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, 123)
    one, other = sessions.of("one"), sessions.of("other")
    assert sessions.of("one") is one is not other
    assert sessions.new() not in (one, other)
    folders = {one.folder, other.folder, sessions.new().folder, sessions.new().folder}
    assert len(folders) == 4 and one.largest == 123
    assert all(folder.parent == tmp_path and re.fullmatch("[0-9a-f]{32}", folder.name) for folder in folders)
    again = Sessions(tmp_path, 123)
    assert again.of("one").folder not in folders


def test_a_session_that_is_forgotten_leaves_no_files(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "private", 10**6)
    one, other = sessions.of("one"), sessions.of("../other")
    for session in (one, other):
        session.open(saved(tmp_path, Image.fromarray(PIXELS), f"{session.folder.name}.png"), "a.png")
        session.write_picture(Image.new("L", (3, 3)), "mask.png")
    sessions.forget("one")
    sessions.forget("one")
    sessions.forget("nobody")
    assert not one.folder.exists() and not any(path.exists() for path in one.uploads)
    assert other.folder.exists() and all(path.exists() for path in other.uploads)
    assert sessions.of("../other") is other and sessions.of("one") is not one
    assert sessions.of("one").photograph is None


def test_only_what_was_asked_for_last_is_wanted_and_once(opened: Session) -> None:
    first, second = Job(marked(), InpaintConfig(seed=1)), Job(marked(), InpaintConfig(seed=2))
    assert opened.take() is None
    opened.ask(first)
    opened.ask(second)
    assert first.cancelled.is_set() and not second.cancelled.is_set()
    assert opened.take() is second and opened.take() is None
    opened.ask(first)
    opened.cancel()
    assert opened.take() is None and opened.job is first


def test_nothing_is_written_once_the_page_is_closed(opened: Session) -> None:
    opened.ask(job := Job(marked(), InpaintConfig()))
    opened.clear_files()
    assert job.cancelled.is_set() and opened.take() is None
    with pytest.raises(OutputError, match="The page was closed"):
        opened.write_picture(marked(), "mask.png")
    assert not opened.folder.exists()
