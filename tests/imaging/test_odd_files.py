"""Files that are hostile, damaged, or of kinds that few programs write: read right, or refused in one sentence."""

from __future__ import annotations

import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from neuralpatch_cuda.errors import ImageError, OutputError
from neuralpatch_cuda.imaging import whole
from neuralpatch_cuda.imaging.files import Photograph, check_writable, read_image, read_mask, write_image
from neuralpatch_cuda.imaging.masks import to_hole
from neuralpatch_cuda.imaging.metadata import Metadata

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (20, 30, 4), dtype=np.uint16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, size: tuple[int, int] = (1, 1), depth: int = 8) -> bytes:
    """An RGB file, of one pixel whatever it says."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, 2, 0, 0, 0))
    pixel = chunk(b"IDAT", zlib.compress(bytes(1 + 3 * depth // 8)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixel + chunk(b"IEND", b"")


def tiff(side: int, bits: tuple[int, ...]) -> bytes:
    """A file that says it is a square of this side."""
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    layout = {"ImageWidth": side, "ImageLength": side, "BitsPerSample": bits, "Compression": 8}
    layout |= {"PhotometricInterpretation": 2 if len(bits) > 2 else 1, "SamplesPerPixel": len(bits)}
    layout |= {"RowsPerStrip": side, "StripOffsets": 0, "StripByteCounts": 99, "PlanarConfiguration": 1}
    if len(bits) in (2, 4):
        layout["ExtraSamples"] = 2
    for name, value in layout.items():
        tags[ExifTags.Base[name]] = value
    file = BytesIO()
    tags.save(file)
    return file.getvalue() + bytes(99)


BOMBS = {
    "png": png(size=(60_000, 60_000)),
    "deep png": png(size=(60_000, 60_000), depth=16),
    "tiff": tiff(60_000, (8, 8, 8)),
    "deep tiff": tiff(60_000, (16, 16, 16)),
    "deep tiff that Pillow does not know": tiff(60_000, (16, 16)),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs(tmp_path: Path, kind: str) -> None:
    if kind.startswith("deep"):
        pytest.importorskip("pyvips")
    (tmp_path / "bomb").write_bytes(BOMBS[kind])
    with pytest.raises(ImageError, match=r"^.*bomb is 60000 x 60000 px, more than the 300 megapixels allowed\.$"):
        read_image(tmp_path / "bomb")


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_chunks_that_unpack_to_much(tmp_path: Path, kind: bytes) -> None:
    huge = chunk(kind, b"name\0\0" + zlib.compress(bytes(2**28)))
    (tmp_path / "a.png").write_bytes(png(huge))
    with pytest.raises(ImageError, match=r"^.*a\.png is damaged: Decompressed data too large.*[^.]\.$"):
        read_image(tmp_path / "a.png")


def write_float(path: Path) -> None:
    vips = pytest.importorskip("pyvips")
    vips.Image.new_from_array(np.zeros((20, 30, 3), np.float32)).tiffsave(str(path))


UNFIT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "LAB": (lambda path: Image.new("LAB", (30, 20)).save(path), "has pixels of PIL mode LAB"),
    "32-bit integers": (lambda path: Image.new("I", (30, 20)).save(path), "has pixels of PIL mode I"),
    "floats of three channels": (write_float, "has 3 channels of type float"),
    "a TIFF file of nothing": (lambda path: path.write_bytes(b"II*\0"), "damaged|not an image"),
    "a directory that ends early": (lambda path: path.write_bytes(tiff(8, (16, 16))[:40]), "damaged|cannot be filled"),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # pytest undoes the library's own filter
@pytest.mark.parametrize("kind", UNFIT)
def test_pixels_that_cannot_be_filled(tmp_path: Path, kind: str) -> None:
    make, words = UNFIT[kind]
    make(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=f"^.*a\\.tif .*({words})[^\n]*\\.$"):
        read_image(tmp_path / "a.tif")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # pytest undoes the library's own filter
def test_damaged_files_make_no_noise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    good = []
    for suffix, options in ((".tif", {"compression": "tiff_lzw"}), (".png", {}), (".jpg", {}), (".webp", {})):
        file = BytesIO()
        Image.fromarray(PIXELS[..., :3]).save(file, Image.registered_extensions()[suffix], **options)
        good.append((suffix, np.frombuffer(file.getvalue(), np.uint8)))
    refused = []
    for index in range(300):
        suffix, content = good[index % len(good)]
        spoilt = content.copy()
        spoilt[random.integers(0, len(spoilt), 8)] = random.integers(0, 256, 8)
        (tmp_path / f"a{suffix}").write_bytes(spoilt.tobytes())
        try:
            assert read_image(tmp_path / f"a{suffix}").size != (1, 1)
        except ImageError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in refused)
    assert capfd.readouterr().err == ""


def test_deep_tiff_of_gray_and_alpha(tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    metadata = Metadata(icc_profile=SRGB, xmp=b"<xmp/>", dpi=(300.0, 200.0))
    write_image(Photograph(DEEP[..., :2], metadata), tmp_path / "a.tif")
    again = read_image(tmp_path / "a.tif")
    assert (again.image == DEEP[..., :2]).all()
    assert (again.metadata.icc_profile, again.metadata.xmp, again.metadata.dpi) == (SRGB, b"<xmp/>", (300.0, 200.0))


def test_deep_images_go_into_deep_formats_only(tmp_path: Path) -> None:
    for suffix in (".jpg", ".webp", ".avif", ".bmp"):
        with pytest.raises(OutputError, match=r"cannot hold several channels of 16 bits; use one of \.png, \.tif"):
            check_writable(tmp_path / f"a{suffix}", Photograph(DEEP))


def test_deep_masks(tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    mask = np.zeros((20, 30, 4), np.uint16)
    mask[..., 3] = 65535
    mask[2:8, 3:9, :3] = 65535
    mask[2:8, 20:26, :3] = 65535
    mask[2:8, 20:26, 3] = 20000  # too transparent
    write_image(Photograph(mask), tmp_path / "rgba.png")
    write_image(Photograph(mask[..., 2:]), tmp_path / "gray.tif")
    for name in ("rgba.png", "gray.tif"):
        with pytest.warns(UserWarning, match=rf"mask .*{name}, 6% of the pixels lie between black and .* 65535"):
            hole = to_hole(read_mask(tmp_path / name), (20, 30)).numpy()
        assert hole[2:8, 3:9].all() and hole.sum() == 36


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    profile = pytest.importorskip("pyvips").Image.profile_load("cmyk")
    image = Image.new("CMYK", (30, 20), (255, 0, 0, 0))
    image.save(tmp_path / f"a{suffix}", icc_profile=profile)
    image.save(tmp_path / f"b{suffix}", icc_profile=SRGB)  # no profile of CMYK
    with pytest.warns(UserWarning, match=r"a\.\w+ is a CMYK image: it was converted to sRGB by its colour profile\.$"):
        exact = read_image(tmp_path / f"a{suffix}")
    with pytest.warns(UserWarning, match="without a colour profile, as it has none that can be used"):
        naive = read_image(tmp_path / f"b{suffix}")
    for photograph in (exact, naive):
        assert (photograph.image.mode, photograph.metadata.jpeg) == ("RGB", {})
        with BytesIO(photograph.metadata.icc_profile or b"") as file:
            assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(file)).startswith("sRGB")
    assert naive.image.getpixel((9, 9)) == pytest.approx((0, 255, 255), abs=3)
    red, green, blue = exact.image.getpixel((9, 9))  # the cyan of printers
    assert red < 40 and 120 < green < 190 and 190 < blue < 250


@pytest.mark.parametrize(("suffix", "kind"), [(".gif", "GIF"), (".png", "PNG"), (".webp", "WEBP"), (".tif", "TIFF")])
def test_only_the_first_of_several_frames_is_read(tmp_path: Path, suffix: str, kind: str) -> None:
    first, second = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (30, 20), "blue")
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    first.save(tmp_path / f"a{suffix}", kind, save_all=True, append_images=[second, first], **options)
    with pytest.warns(UserWarning, match=r"has 3 frames or pages, of which only the first is read\.$"):
        assert read_image(tmp_path / f"a{suffix}").image.getpixel((9, 9)) == (255, 0, 0)


def test_a_transparent_colour_becomes_alpha(tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 20), (1, 2, 3))
    image.paste((9, 9, 9), (10, 0, 20, 20))
    image.save(tmp_path / "a.png", transparency=(1, 2, 3))
    read = read_image(tmp_path / "a.png").image
    assert (read.getpixel((0, 0)), read.getpixel((15, 0))) == ((1, 2, 3, 0), (9, 9, 9, 255))


def test_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    paths = [tmp_path / f"{index}.png" for index in range(8)]
    for index, path in enumerate(paths):
        Image.new("RGB", (300, 200), (index, 0, 0)).save(path)
    start = threading.Barrier(len(paths))

    def read(index: int) -> set[Any]:
        start.wait()
        return {read_image(paths[index]).image.getpixel((9, 9)) for _ in range(50)}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(len(paths)) as pool:
            colours = list(pool.map(read, range(len(paths))))
    assert colours == [{(index, 0, 0)} for index in range(len(paths))]
    assert Image.MAX_IMAGE_PIXELS == 100


# How files are written


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_files_stay_as_they_were_compressed(tmp_path: Path, subsampling: str) -> None:
    smooth = Image.fromarray(PIXELS[:4, :5, :3]).resize((640, 480), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=70, subsampling=subsampling, progressive=True)
    photograph = read_image(tmp_path / "a.jpg")
    write_image(photograph, tmp_path / "b.jpg")
    write_image(photograph, tmp_path / "c.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as a, Image.open(tmp_path / "b.jpg") as b, Image.open(tmp_path / "c.jpg") as c:
        assert b.quantization == a.quantization != c.quantization
        assert JpegImagePlugin.get_sampling(b) == JpegImagePlugin.get_sampling(a)
        assert JpegImagePlugin.get_sampling(c) == 0
        assert b.info["progressive"]
        assert np.abs(np.asarray(a).astype(int) - np.asarray(b)).mean() < 1
    assert (tmp_path / "b.jpg").stat().st_size == pytest.approx((tmp_path / "a.jpg").stat().st_size, rel=0.05)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".png"])
def test_quality(tmp_path: Path, suffix: str) -> None:
    photograph = Photograph(Image.fromarray(PIXELS[..., :3]).resize((320, 200)))
    sizes = []
    for quality in (20, 80):
        write_image(photograph, tmp_path / f"a{suffix}", quality)
        sizes.append((tmp_path / f"a{suffix}").stat().st_size)
    assert sizes[0] == sizes[1] if suffix == ".png" else sizes[0] < sizes[1] * 0.8
    for quality in (0, 101):
        with pytest.raises(OutputError, match=f"the quality must be from 1 to 100, not {quality}"):
            write_image(photograph, tmp_path / f"a{suffix}", quality)


XMP = b'<x:xmpmeta tiff:Orientation="6" note="f\xc3\xbcr"/>'


@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".avif", ".tif"])
@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".avif", ".tif"])
def test_xmp_and_resolution_are_kept(tmp_path: Path, source: str, target: str) -> None:
    first = Photograph(Image.fromarray(PIXELS[..., :3]), Metadata(xmp=XMP, dpi=(300.0, 300.0)))
    write_image(first, tmp_path / f"a{source}")
    write_image(read_image(tmp_path / f"a{source}"), tmp_path / f"b{target}")
    again = read_image(tmp_path / f"b{target}").metadata
    assert again.xmp == XMP.replace(b"6", b"1")
    assert again.dpi == pytest.approx((300.0, 300.0), abs=0.01)
    with Image.open(tmp_path / f"b{target}") as image:
        assert image.info["xmp"] == again.xmp


def test_the_size_that_exif_data_tell_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.ExifImageWidth: 30, ExifTags.Base.ExifImageHeight: 20})
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "a.jpg", exif=exif.tobytes())
    write_image(read_image(tmp_path / "a.jpg"), tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        details = image.getexif().get_ifd(ExifTags.IFD.Exif)
        assert image.size == (20, 30)
        assert (details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight]) == (20, 30)


def test_metadata_that_a_format_cannot_hold_are_known_beforehand(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "long " * 20_000
    photograph = Photograph(Image.new("RGB", (30, 20)), Metadata(exif=exif.tobytes()))
    check_writable(tmp_path / "a.png", photograph)
    with pytest.raises(OutputError, match=r"^Cannot write .*a\.jpg: EXIF data is too long\.$"):
        check_writable(tmp_path / "a.jpg", photograph)


@pytest.mark.parametrize(("suffix", "limit"), [(".webp", 16_383), (".jpg", 65_500), (".avif", 65_536)])
def test_sides_too_long_for_a_format_are_known_beforehand(tmp_path: Path, suffix: str, limit: int) -> None:
    check_writable(tmp_path / f"a{suffix}", Photograph(Image.new("L", (limit, 1))))
    with pytest.raises(OutputError, match=rf"can hold {limit} px each way, not {limit + 1}; use \.png or \.tif\.$"):
        check_writable(tmp_path / f"a{suffix}", Photograph(Image.new("L", (1, limit + 1))))


def test_photoshops_layers_and_previews_are_left_out(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[ExifTags.Base.ImageResources], tags.tagtype[ExifTags.Base.ImageResources] = bytes(70_000), 7
    tags[ExifTags.Base.Make] = "Maker"
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "a.tif", tiffinfo=tags)
    write_image(read_image(tmp_path / "a.tif"), tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        assert dict(image.getexif()) == {ExifTags.Base.Make: "Maker"}


def test_a_compressed_tiff_is_not_compressed_with_loss_again(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "a.tif", compression="jpeg")
    photograph = read_image(tmp_path / "a.tif")
    write_image(photograph, tmp_path / "b.tif")
    assert read_image(tmp_path / "b.tif").image.tobytes() == photograph.image.tobytes()


def test_deep_png_has_each_chunk_once(tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    write_image(Photograph(DEEP, Metadata(SRGB, exif.tobytes(), XMP, (300.0, 300.0))), tmp_path / "a.png")
    content, names, at = (tmp_path / "a.png").read_bytes(), [], 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        names.append(content[at + 4 : at + 8])
        assert PngImagePlugin.i32(content, at + 8 + length) == zlib.crc32(content[at + 4 : at + 8 + length])
        at += length + 12
    assert sorted(names) == sorted([b"IHDR", b"iCCP", b"pHYs", b"iTXt", b"eXIf", b"IDAT", b"IEND"])
    assert (names[0], names[-1]) == (b"IHDR", b"IEND") and names.index(b"iCCP") < names.index(b"IDAT")


def test_files_are_flushed_before_they_take_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    flush, move = os.fsync, Path.replace

    def note_flush(number: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        flush(number)

    def note_move(self: Path, target: Path) -> Path:
        events.append("rename")
        return move(self, target)

    monkeypatch.setattr(whole.os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_move)
    write_image(Photograph(Image.new("RGB", (30, 20))), tmp_path / "a.png")
    assert events == ["file", "rename", "folder"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_image(Photograph(Image.new("RGB", (30, 20))), tmp_path / "a.png")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640
