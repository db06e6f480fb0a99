from __future__ import annotations

import os
import struct
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from neuralpatch_cuda.errors import ImageError, OutputError
from neuralpatch_cuda.imaging import files
from neuralpatch_cuda.imaging.files import FORMATS, Photograph, check_writable, read_image, write_image

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int = 1) -> Image.Exif:
    data = Image.Exif()
    data[ExifTags.Base.Make] = "Maker"
    data[ExifTags.Base.Orientation] = orientation
    data.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.01
    data.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return data


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path: Path, colour_type: int, depth: int, channels: int) -> Path:
    """A PNG file of 30 x 20 random pixels, for the kinds that Pillow does not write."""
    rows = np.random.default_rng(0).bytes(20 * (1 + 30 * channels * depth // 8))
    lines = np.frombuffer(rows, np.uint8).reshape(20, -1).copy()
    lines[:, 0] = 0  # no filter
    header = struct.pack(">IIBBBBB", 30, 20, depth, colour_type, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes())) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    write_image(Photograph(Image.fromarray(PIXELS)), path)
    image = read_image(path).image
    assert (image.mode, image.size) == ("RGB", (30, 20))
    difference = np.abs(np.asarray(image).astype(int) - PIXELS)
    assert difference.max() == 0 if suffix not in (".jpg", ".jpeg", ".avif") else 0 < difference.mean() < 6
    assert os.listdir(tmp_path) == [path.name]


def test_jpeg_keeps_full_colour_resolution(tmp_path: Path) -> None:
    write_image(Photograph(Image.fromarray(PIXELS)), tmp_path / "photo.jpg")
    with Image.open(tmp_path / "photo.jpg") as image:
        assert {component[1:3] for component in image.layer} == {(1, 1)}


@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".avif", ".tif"])
@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".avif", ".tif"])
def test_metadata_are_kept_and_the_orientation_is_reset(tmp_path: Path, source: str, target: str) -> None:
    first, second = tmp_path / f"a{source}", tmp_path / f"b{target}"
    Image.fromarray(PIXELS).save(first, icc_profile=PROFILE, exif=exif(6).tobytes(), lossless=True)
    write_image(read_image(first), second)
    with Image.open(second) as image:
        assert image.info["icc_profile"] == PROFILE
        data = image.getexif()
        assert data.get(ExifTags.Base.Orientation, 1) == 1
        assert data[ExifTags.Base.Make] == "Maker"
        assert data.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == pytest.approx(0.01)
        assert data.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
        assert image.size == (20, 30)
        if not {".jpg", ".avif"} & {source, target}:
            assert (np.asarray(image) == np.rot90(PIXELS, -1)).all()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_png_and_tiff_hold_every_8_bit_mode(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    for suffix in (".png", ".tif"):
        check_writable(tmp_path / f"a{suffix}", Photograph(image))
        write_image(Photograph(image), tmp_path / f"a{suffix}")
        again = read_image(tmp_path / f"a{suffix}").image
        assert (again.mode, again.tobytes()) == (image.mode, image.tobytes())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_gray_is_kept(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    path = tmp_path / f"a{suffix}"
    write_image(Photograph(Image.fromarray(pixels)), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(path).image
    assert image.mode == "I;16"
    assert (np.asarray(image) == pixels).all()


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_is_not_cut(tmp_path: Path, colour_type: int, channels: int) -> None:
    pytest.importorskip("pyvips")
    deep = read_image(png(tmp_path / "deep.png", colour_type, 16, channels)).image
    assert (deep.shape, deep.dtype) == ((20, 30, channels), np.uint16)
    rows = np.frombuffer(np.random.default_rng(0).bytes(20 * (1 + 60 * channels)), np.uint8).reshape(20, -1)
    assert (deep == np.ascontiguousarray(rows[:, 1:]).view(">u2").reshape(deep.shape)).all()
    assert isinstance(read_image(png(tmp_path / "flat.png", colour_type, 8, channels)).image, Image.Image)


def test_16_bit_colour_without_libvips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(ImageError, match=r"^Photographs of 16 bits in several channels need libvips; .*pip install"):
        read_image(png(tmp_path / "deep.png", 2, 16, 3))
    with pytest.raises(OutputError, match="Photographs of 16 bits in several channels need libvips"):
        write_image(Photograph(np.zeros((20, 30, 3), np.uint16)), tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["deep.png"]


def test_palette_and_one_bit_files_become_rgb(tmp_path: Path) -> None:
    for mode in ("1", "P"):
        Image.fromarray(PIXELS).convert(mode).save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png").image.mode == "RGB"


def test_large_photographs_are_read_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / "a.png")
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(ImageError, match="is 30 x 20 px, more than"):
        read_image(tmp_path / "a.png", largest=599)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif", ".tif"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.tile(PIXELS, (20, 20, 1))).save(path)
    content = path.read_bytes()
    for length in (len(content) // 2, len(content) // 4 * 3):
        path.write_bytes(content[:length])
        with pytest.raises(ImageError, match=r"damaged|not an image"):
            read_image(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_not_an_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png is (not an image that can be read|damaged)"):
        read_image(path)


def test_programs_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match=r"a\.png is not an image that can be read\."):
        read_image(tmp_path / "a.png")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^There is no file .*a\.png\.$"):
        read_image(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        read_image(tmp_path)


def bad_output(folder: Path, case: str) -> Path:
    (folder / "file").write_text("")
    (folder / "folder.png").mkdir()
    (folder / "protected.png").touch(mode=0o444)
    return (
        folder
        / {
            "suffix": "a.xyz",
            "no suffix": "a",
            "no folder": "missing/a.png",
            "a file as folder": "file/a.png",
            "a folder": "folder.png",
            "protected": "protected.png",
        }[case]
    )


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("suffix", r"a\.xyz: its suffix must be one of \.png, \.jpg"),
        ("no suffix", "its suffix must be one of"),
        ("no folder", "there is no folder .*missing"),
        ("a file as folder", "there is no folder .*file"),
        ("a folder", "it is a folder; name a file in it"),
        pytest.param("protected", "write-protected", marks=pytest.mark.skipif(os.geteuid() == 0, reason="is root")),
    ],
)
def test_what_cannot_be_written_is_known_beforehand(tmp_path: Path, case: str, words: str) -> None:
    with pytest.raises(OutputError, match=f"^Cannot write .*{words}.*\\.$"):
        check_writable(bad_output(tmp_path, case))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="Permission denied in"):
        check_writable(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("suffix", "mode", "fits"),
    [
        (".jpg", "RGB", True),
        (".jpg", "CMYK", True),
        (".jpg", "RGBA", False),
        (".jpg", "I;16", False),
        (".png", "I;16", True),
        (".png", "CMYK", False),
        (".tif", "F", True),
        (".bmp", "LA", False),
        (".webp", "RGBA", True),
        (".webp", "I;16", False),
        (".avif", "RGBA", True),
        (".avif", "I;16", False),
    ],
)
def test_modes_that_a_format_cannot_hold(tmp_path: Path, suffix: str, mode: str, fits: bool) -> None:
    path, image = tmp_path / f"a{suffix}", Image.new(mode, (30, 20))
    if fits:
        check_writable(path, Photograph(image))
        write_image(Photograph(image), path)
    else:
        with pytest.raises(OutputError, match=f"cannot hold an image of mode {mode}; use one of .*\\.tif"):
            check_writable(path, Photograph(image))
        with pytest.raises(OutputError):
            write_image(Photograph(image), path)
    assert path.exists() == fits


def test_check_writable_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "a.png", Photograph(Image.new("RGB", (30, 20))))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(self: Image.Image, file: Any, *args: Any, **options: Any) -> None:
        file.write(b"half")
        raise error

    monkeypatch.setattr(files, "_holds", lambda suffix, image: True)
    monkeypatch.setattr(Image.Image, "save", fail)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputError
    with pytest.raises(expected):
        write_image(Photograph(Image.new("RGB", (30, 20))), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("real.png")
    write_image(Photograph(Image.new("RGB", (30, 20))), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert read_image(tmp_path / "real.png").size == (30, 20)


def test_an_existing_file_is_replaced_and_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    os.link(tmp_path / "a.png", tmp_path / "same file")
    write_image(Photograph(Image.new("RGB", (30, 20))), tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").size == (30, 20)
    assert (tmp_path / "same file").read_bytes() == b"old"
