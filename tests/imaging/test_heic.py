"""HEIC files, which Pillow reads with the help of another package."""

from __future__ import annotations

import struct
import sys
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from neuralpatch_cuda import cli
from neuralpatch_cuda.batch.pairing import Rules, pair_files
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ImageError
from neuralpatch_cuda.imaging.files import check_writable, read_image, read_mask, write_image

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CORNERS = {(0, 0): (250, 0, 0), (63, 0): (0, 250, 0), (0, 47): (0, 0, 250), (63, 47): (250, 250, 0)}
"""Colours of a picture of 64 x 48 px as it lies."""


def picture() -> Image.Image:
    pixels = np.zeros((48, 64, 3), np.uint8)
    for (x, y), colour in CORNERS.items():
        pixels[y // 24 * 24 :, x // 32 * 32 :] = colour
    pixels[:24, 32:], pixels[24:, :32], pixels[24:, 32:] = (0, 250, 0), (0, 0, 250), (250, 250, 0)
    return Image.fromarray(pixels)


def heic(path: Path, image: Image.Image | None = None, **options: Any) -> Path:
    pillow_heif = pytest.importorskip("pillow_heif")
    if not pillow_heif.libheif_info()["HEIF"]:
        pytest.skip("this build of libheif does not write HEIC")
    file = BytesIO()
    pillow_heif.from_pillow(image or picture()).save(file, quality=90, **options)
    path.write_bytes(file.getvalue())
    return path


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[ExifTags.Base.Make], data[ExifTags.Base.Orientation] = "Maker", orientation
    return data.tobytes()


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"heix"])
def test_without_the_package(brand: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(struct.pack(">I4s4sI4s", 20, b"ftyp", brand, 0, b"mif1") + bytes(99))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for read in (read_image, read_mask):
        with pytest.raises(
            ImageError, match=r"^.*a\.jpg is a HEIC .* file, .*; install it with: pip install pillow-heif$"
        ):
            read(tmp_path / "a.jpg")


def test_avif_files_of_a_general_brand_need_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "a.avif")
    content = (tmp_path / "a.avif").read_bytes()
    (tmp_path / "a.avif").write_bytes(content[:8] + b"mif1" + content[12:])
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert read_image(tmp_path / "a.avif").size == (64, 48)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_once(orientation: int, tmp_path: Path) -> None:
    photograph = read_image(heic(tmp_path / "a.heic", exif=exif(orientation)))
    upright = Image.Transpose
    turn = {2: upright.FLIP_LEFT_RIGHT, 3: upright.ROTATE_180, 4: upright.FLIP_TOP_BOTTOM, 5: upright.TRANSPOSE}
    turn |= {6: upright.ROTATE_270, 7: upright.TRANSVERSE, 8: upright.ROTATE_90}
    expected = picture().transpose(turn[orientation]) if orientation > 1 else picture()
    assert photograph.size == expected.size
    assert np.abs(np.asarray(photograph.image).astype(int) - np.asarray(expected)).mean() < 4
    write_image(photograph, tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert dict(image.getexif()) == {ExifTags.Base.Make: "Maker"}


def test_metadata_go_along(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta note="here"/>'
    heic(tmp_path / "a.heic", exif=exif(1), icc_profile=PROFILE, xmp=xmp)
    for suffix in (".png", ".jpg", ".tif"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            photograph = read_image(tmp_path / "a.heic")
            check_writable(tmp_path / f"b{suffix}", photograph)
            write_image(photograph, tmp_path / f"b{suffix}")
        with Image.open(tmp_path / f"b{suffix}") as image:
            assert image.info["icc_profile"] == PROFILE
            assert image.getexif()[ExifTags.Base.Make] == "Maker"
            assert image.info["xmp"] == xmp


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    heic(tmp_path / "a.heic")
    deep = pillow_heif.from_bytes("RGB;16", (64, 48), bytes(64 * 48 * 6))
    deep.save(tmp_path / "deep.heic")
    several = pillow_heif.from_pillow(picture())
    several.add_from_pillow(picture())
    several.save(tmp_path / "several.heic")
    video = struct.pack(">I4s8x", 16, b"mpvd")
    (tmp_path / "motion.heic").write_bytes((tmp_path / "a.heic").read_bytes() + video)
    for name, words in (
        ("deep", "has 10 bits per channel, of which 8 are read."),
        ("several", "has 2 frames or pages, of which only the first is read."),
        ("motion", "is written without the photograph's video (motion photo)."),
    ):
        with pytest.warns(UserWarning, match=f"{name}|b.png") as caught:
            write_image(read_image(tmp_path / f"{name}.heic"), tmp_path / "b.png")
        assert [str(each.message).split(" ", 1)[1] for each in caught] == [words]


def test_colours_by_numbers_go_into_png(tmp_path: Path) -> None:
    numbers = {"color_primaries": 9, "transfer_characteristics": 16, "matrix_coefficients": 9, "full_range_flag": 1}
    write_image(read_image(heic(tmp_path / "a.heic", **numbers)), tmp_path / "b.png")
    assert b"cICP\x09\x10\0\1" in (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_damaged_files(share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    content = heic(tmp_path / "a.heic", Image.fromarray(noise)).read_bytes()
    (tmp_path / "a.heic").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ImageError, match=r"^.*a\.heic is damaged: [^\n]*\.$"):
        read_image(tmp_path / "a.heic")


def test_pillow_is_left_as_it_was(tmp_path: Path) -> None:
    before = dict(Image.OPEN), dict(Image.SAVE)
    read_image(heic(tmp_path / "a.heic"))
    assert before == (Image.OPEN, Image.SAVE)


def test_in_folders(tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIF", "c.hif", "a_mask.png", "b_mask.png", "c_mask.png"):
        (tmp_path / name).touch()
    pairing = pair_files(str(tmp_path), None, Rules(tmp_path / "out", InpaintConfig()))
    assert [item.name for item in pairing.items] == ["a.png", "b.png", "c.png"]
    assert pairing.problems == []


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = Image.new("L", (48, 64))
    mask.paste(255, (20, 20, 24, 24))
    mask.save(tmp_path / "mask.png")
    files = [heic(tmp_path / "a.heic", exif=exif(6)), tmp_path / "mask.png"]
    quick = ["--iterations", "1", "--scales", "1", "--device", "cpu", "--quiet"]
    assert cli.main(["inpaint", *map(str, files), "-o", str(tmp_path / "b.jpg"), *quick]) == 0
    assert capsys.readouterr().err == ""
    assert cli.main(["inpaint", *map(str, files), "-o", str(tmp_path / "b.heic"), *quick]) == 2
    assert "its suffix must be one of .png" in capsys.readouterr().err
