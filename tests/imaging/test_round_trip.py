"""Files of many kinds, read, filled, written, and read again by others: nothing is lost outside the hole."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from neuralpatch_cuda import InpaintConfig, Inpainter
from neuralpatch_cuda.imaging.files import check_writable, read_image, read_mask, write_image
from neuralpatch_cuda.imaging.images import Array

WIDTH, HEIGHT = 64, 48
HOLE = (slice(7, 19), slice(44, 56))
"""In the upper right quadrant of the upright photograph."""
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = '<x:xmpmeta tiff:Orientation="{}" note="für"/>'
DPI = 240
COLOURS = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3, "P": 3, "PA": 3}
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "P": 3, "PA": 4}
LOSSY = ("jpg", "avif")
WITH_DPI = ("png", "jpg", "tif", "bmp")

STORED: dict[int, Callable[[Array], Array]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
"""How an upright photograph lies in a file of an EXIF orientation."""


@dataclass(frozen=True)
class Case:
    source: str
    target: str
    mode: str
    bits: int = 8
    icc: bool = True
    orientation: int = 1

    def __str__(self) -> str:
        profile = "icc" if self.icc else "plain"
        return f"{self.source}-{self.target}-{self.mode}{self.bits}-{profile}-{self.orientation}"


SOURCES = {
    "png": ("L", "LA", "RGB", "RGBA", "P", "PA"),
    "jpg": ("L", "RGB"),
    "tif": ("L", "LA", "RGB", "RGBA", "P"),
    "webp": ("RGB", "RGBA"),
    "avif": ("RGB", "RGBA"),
    "bmp": ("L", "RGB", "P"),
}
CASES = [
    *(Case(source, source, mode, icc=icc) for source in SOURCES for mode in SOURCES[source] for icc in (False, True)),
    *(Case(source, source, "RGB", orientation=turn) for source in SOURCES if source != "bmp" for turn in range(2, 9)),
    *(
        Case(source, target, "RGB", orientation=1 if source == "bmp" else 6)
        for source in SOURCES
        for target in SOURCES
        if source != target
    ),
    *(Case("png", target, "RGBA", orientation=8) for target in ("tif", "webp", "avif")),
    *(
        Case(source, target, mode, 16, icc, turn)
        for source in ("png", "tif")
        for mode in ("L", "LA", "RGB", "RGBA")
        for target, icc, turn in (("png", True, 1), ("tif", False, 6), ("tif", True, 3), ("png", True, 7))
    ),
    *(Case("png", "png", "RGB", 16, orientation=turn) for turn in range(1, 9)),
]


def photograph(mode: str, bits: int) -> Array:
    """`[H, W, C]`, upright: four quadrants of different colours, some grain, the hole black."""
    random = np.random.default_rng(0)
    palette = np.array([[200, 40, 40], [40, 190, 50], [50, 60, 210], [220, 210, 60]], np.uint8)
    quadrants = np.kron(np.arange(4).reshape(2, 2), np.ones((HEIGHT // 2, WIDTH // 2), int))
    if mode in ("P", "PA"):
        image = palette[quadrants]
        image[HOLE] = 0
        alpha = np.where(quadrants == 3, 0, 255)[..., None].astype(np.uint8)
        return image if mode == "P" else np.concatenate([image, alpha], 2)
    grain = random.integers(-12, 13, (HEIGHT, WIDTH, 1))
    image = (palette[quadrants] + grain).astype(np.uint8)[..., : COLOURS[mode]]
    image[HOLE] = 0
    if mode.endswith("A"):
        image = np.concatenate([image, random.integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)], 2)
    return image if bits == 8 else image * np.uint16(257) ^ random.integers(0, 128, image.shape, dtype=np.uint16)


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[ExifTags.Base.Make] = "Maker"
    data[ExifTags.Base.Orientation] = orientation
    details = data.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = "1999:12:31 23:59:58"
    details[ExifTags.Base.ExposureTime] = 0.01
    details[ExifTags.Base.MakerNote] = b"secret recipe"
    data.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (46.0, 30.0, 15.5)
    return data


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(pixels: Array, case: Case) -> bytes:
    """A PNG file of 16 bits, made by hand."""
    height, width, channels = pixels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    per_metre = round(DPI / 0.0254)
    xmp = XMP.format(case.orientation).encode()
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)),
            chunk(b"iCCP", b"profile\0\0" + zlib.compress(PROFILE)) if case.icc else b"",
            chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)),
            chunk(b"IDAT", zlib.compress(np.insert(rows, 0, 0, axis=1).tobytes())),  # each row without a filter
            chunk(b"eXIf", exif(case.orientation).tobytes()[6:]),
            chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
            chunk(b"IEND", b""),
        ]
    )


def deep_tiff(pixels: Array, case: Case, path: Path) -> None:
    """A TIFF file of 16 bits, compressed and in tiles, made by libvips: of EXIF data, it has the orientation."""
    vips = pytest.importorskip("pyvips")
    image = vips.Image.new_from_array(pixels)
    resolution = DPI / 25.4
    image = image.copy(interpretation="rgb16" if image.bands > 2 else "grey16", xres=resolution, yres=resolution)
    image.set_type(vips.GValue.gint_type, "orientation", case.orientation)
    image.set_type(vips.GValue.blob_type, "xmp-data", XMP.format(case.orientation).encode())
    if case.icc and image.bands > 2:  # libvips writes no profile of colours with gray
        image.set_type(vips.GValue.blob_type, "icc-profile-data", PROFILE)
    image.tiffsave(str(path), compression="lzw", predictor="horizontal", tile=True, tile_width=32, tile_height=16)


def make(case: Case, path: Path) -> None:
    pixels = np.ascontiguousarray(STORED[case.orientation](photograph(case.mode, case.bits)))
    if case.bits == 16 and case.source == "png":
        path.write_bytes(deep_png(pixels, case))
    elif case.bits == 16:
        deep_tiff(pixels, case, path)
    else:
        image = Image.fromarray(pixels[..., 0] if case.mode == "L" else pixels) if case.mode != "LA" else two(pixels)
        if case.mode in ("P", "PA"):
            image = image.quantize(8, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        options: dict[str, Any] = {"exif": exif(case.orientation).tobytes(), "dpi": (DPI, DPI)}
        options |= {"lossless": True, "exact": True} if case.source == "webp" else {}
        options |= {"icc_profile": PROFILE} if case.icc else {}
        image.save(path, **options)


def two(pixels: Array) -> Image.Image:
    """Gray and alpha."""
    return Image.merge("LA", [Image.fromarray(pixels[..., band]) for band in range(2)])


def pixels_of(path: Path, bits: int) -> Array:
    """The pixels of a file as they lie, `[H, W, C]`, by another way than the library's."""
    with Image.open(path) if bits == 8 else open(path, "rb") as file:
        if bits == 8:
            if file.mode == "P":
                file = file.convert("RGBA" if file.has_transparency_data else "RGB")
            pixels = np.asarray(file)
        else:
            pixels = pytest.importorskip("pyvips").Image.new_from_buffer(file.read(), "").numpy()
    return pixels if pixels.ndim == 3 else pixels[..., None]


@pytest.fixture(scope="module")
def painter() -> Inpainter:
    return Inpainter(InpaintConfig(iterations=1, scales=1), device="cpu")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_round_trip(case: Case, painter: Inpainter, tmp_path: Path) -> None:
    source, target = tmp_path / f"a.{case.source}", tmp_path / f"b.{case.target}"
    make(case, source)
    mask = Image.new("L", (WIDTH, HEIGHT))
    mask.paste(255, (HOLE[1].start, HOLE[0].start, HOLE[1].stop, HOLE[0].stop))
    mask.save(tmp_path / "mask.png")

    opened = read_image(source)
    assert opened.size == (WIDTH, HEIGHT)
    assert isinstance(opened.image, Image.Image) == (case.bits == 8 or case.mode == "L")
    check_writable(target, opened)
    write_image(opened.with_image(painter(opened.image, read_mask(tmp_path / "mask.png"))), target)

    check_pixels(case, source, target)
    check_metadata(case, target)


def check_pixels(case: Case, source: Path, target: Path) -> None:
    original, result = photograph(case.mode, case.bits), pixels_of(target, case.bits)
    if case.source in LOSSY:  # what was lost when the test made the file is not the library's loss
        with Image.open(source) as image:
            decoded = np.asarray(ImageOps.exif_transpose(image)).reshape(original.shape)
        assert np.abs(decoded.astype(int) - original).mean() < 20
        original = decoded
    if result.shape != original.shape:  # gray that became colours
        assert case.mode == "L"
        original = np.repeat(original, 3, 2)
    assert (result.dtype, result.shape[:2]) == (original.dtype, (HEIGHT, WIDTH))
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[HOLE] = False
    difference = np.abs(result.astype(int) - original)
    if case.target in LOSSY:
        near = np.ones_like(outside)
        near[: HOLE[0].stop + 8, HOLE[1].start - 8 :] = False
        assert difference[near].mean() < 4
    else:
        assert difference[outside].max() == 0
        assert not case.mode.endswith("A") or difference[..., -1].max() == 0
    top = 255 if case.bits == 8 else 65535
    colours = COLOURS[case.mode]
    assert (difference[HOLE][..., :colours].max(-1) > top // 20).mean() > 0.9
    quadrant = original[: HEIGHT // 2, WIDTH // 2 :][outside[: HEIGHT // 2, WIDTH // 2 :]][:, :colours].mean(0)
    assert np.abs(result[HOLE][..., :colours].mean((0, 1)) - quadrant).max() < top / 4


def check_metadata(case: Case, target: Path) -> None:
    if (case.mode, case.bits, case.target) == ("LA", 16, "tif"):
        return  # Pillow cannot open it
    with Image.open(target) as image:
        image.load()
    with Image.open(target) as opened:  # of a TIFF file, Pillow gives no metadata once the pixels are read
        data = opened.getexif()
        details, place = data.get_ifd(ExifTags.IFD.Exif), data.get_ifd(ExifTags.IFD.GPSInfo)
    assert data.get(ExifTags.Base.Orientation, 1) == 1
    made_by_vips = (case.source, case.bits) == ("tif", 16)
    if "bmp" not in (case.source, case.target):
        profiled = case.icc and not (made_by_vips and case.mode in ("L", "LA"))
        assert image.info.get("icc_profile") == (PROFILE if profiled else None)
        if not made_by_vips:
            assert data[ExifTags.Base.Make] == "Maker"
            assert details[ExifTags.Base.DateTimeOriginal] == "1999:12:31 23:59:58"
            assert details[ExifTags.Base.ExposureTime] == pytest.approx(0.01)
            assert details[ExifTags.Base.MakerNote] == b"secret recipe"
            assert place[ExifTags.GPS.GPSLatitude] == (46.0, 30.0, 15.5)
    if case.source in WITH_DPI and case.target in WITH_DPI:
        assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    if case.bits == 16:
        assert image.info["xmp"] == XMP.format(1).encode()
