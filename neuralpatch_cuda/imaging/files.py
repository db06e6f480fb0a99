"""Image files: read upright with their metadata, written whole or not at all."""

from __future__ import annotations

import os
import secrets
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import ExifTags, Image, ImageMode, TiffImagePlugin, UnidentifiedImageError

from neuralpatch_cuda.errors import ImageError, OutputError
from neuralpatch_cuda.imaging.images import upright

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".tif": ("TIFF", {}),  # uncompressed: with compression, Pillow cannot write the Exif and GPS directories
    ".tiff": ("TIFF", {}),
    ".bmp": ("BMP", {}),
}
"""Output formats by suffix, with how they are written. All but JPEG keep every pixel exactly."""

LARGEST = 300_000_000
"""Pixels beyond which an image is refused, so that a small malicious file cannot fill the memory."""

LAYOUT_TAGS = {
    *range(ExifTags.Base.ImageWidth, ExifTags.Base.PhotometricInterpretation + 1),
    ExifTags.Base.FillOrder,
    ExifTags.Base.Orientation,
    *range(ExifTags.Base.SamplesPerPixel, ExifTags.Base.StripByteCounts + 1),
    ExifTags.Base.PlanarConfiguration,
    ExifTags.Base.Predictor,
    ExifTags.Base.ColorMap,
    *range(ExifTags.Base.TileWidth, ExifTags.Base.TileByteCounts + 1),
    ExifTags.Base.SubIFDs,
    ExifTags.Base.ExtraSamples,
    ExifTags.Base.SampleFormat,
    ExifTags.Base.JPEGTables,
    ExifTags.Base.InterColorProfile,
}
"""TIFF tags that say how one file holds its pixels; Pillow gives them as EXIF data, not to be copied."""


def read_image(path: str | Path) -> Image.Image:
    """Read an image file, of several frames the first.

    Args:
        path: a file of any format Pillow knows.

    Returns:
        The image, as `images.upright` gives it; its `info` holds the ICC profile and EXIF data.

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: not an image, damaged, or of more than `LARGEST` pixels.

    Warns:
        UserWarning: the file has 16 bits per channel in several channels, of which Pillow keeps 8.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}." if not path.exists() else f"{path} is not a file.")
    try:
        with _pillow_limit_lifted(), Image.open(path) as image:
            if image.width * image.height > LARGEST:
                size = f"{image.width} x {image.height} px"
                raise ImageError(f"{path} is {size}, more than the {LARGEST // 10**6} megapixels allowed.")
            deep = _loses_depth(path, image)
            exif = _exif(image)
            result = upright(image)
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not an image that can be read.") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        if isinstance(error, ImageError):
            raise
        if isinstance(error, OSError) and error.errno:
            raise ImageError(f"{path} cannot be read: {error.strerror}.") from error
        raise ImageError(f"{path} is damaged: {str(error).rstrip('.')}.") from error
    if deep:
        warnings.warn(f"{path} has 16 bits per channel, of which only 8 are kept.", stacklevel=2)
    result.info["exif"] = exif
    return result


def check_writable(path: str | Path, image: Image.Image | None = None) -> None:
    """Find out before any work is done whether an image can be written.

    Args:
        path: where it is to go; the suffix decides the format.
        image: an image of the mode that will be written: whether the format can hold it is checked, too.

    Raises:
        OutputError: the suffix is unknown, the format cannot hold such an image, the folder does not exist,
            or the file may not be written.
    """
    path = Path(path)
    _format(path)
    check_place(path)
    if image is not None:
        _check_mode(path, image.mode)


def check_place(path: Path) -> None:
    """Find out before any work is done whether a file can be written, whatever is to be in it.

    Raises:
        OutputError: the folder does not exist, or the file may not be written.
    """
    folder = path.resolve().parent
    if not folder.is_dir():
        raise OutputError(f"Cannot write {path}: there is no folder {folder}.")
    if path.is_dir():
        raise OutputError(f"Cannot write {path}: it is a folder; name a file in it.")
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f"Cannot write {path}: the file is write-protected.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error} in {folder}.") from error


def write_image(image: Image.Image, path: str | Path) -> None:
    """Write an image with its ICC profile and EXIF data. `path` is never left half-written.

    Args:
        image: what to write; `info["icc_profile"]` and `info["exif"]` go with it.
        path: where to; the suffix decides the format, see `FORMATS`.

    Raises:
        OutputError: it could not be written; `path` is untouched.
    """
    path = Path(path)
    kind, options = _format(path)
    _check_mode(path, image.mode)
    metadata = {name: image.info[name] for name in ("icc_profile", "exif") if image.info.get(name)}
    with written_whole(path) as file:
        image.save(file, kind, **options, **metadata)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when all is written; if that fails, `path` is untouched.

    Raises:
        OutputError: it could not be written.
    """
    target = path.resolve()  # a link stays a link
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(target)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).rstrip(".")
        raise OutputError(f"Cannot write {path}: {reason}.") from error
    finally:
        partial.unlink(missing_ok=True)


def _format(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise OutputError(
            f"Cannot write {path}: its suffix must be one of {', '.join(FORMATS)}, which decides the format."
        ) from None


def _check_mode(path: Path, mode: str) -> None:
    if not _holds(path.suffix, mode):
        fitting = ", ".join(suffix for suffix in FORMATS if _holds(suffix, mode))
        kind, _ = _format(path)
        raise OutputError(f"Cannot write {path}: {kind} cannot hold an image of mode {mode}; use one of {fitting}.")


def _holds(suffix: str, mode: str) -> bool:
    """Whether a format can hold images of a PIL mode, with their depth and their transparency."""
    kind, options = FORMATS[suffix.lower()]
    image, file = Image.new(mode, (1, 1)), BytesIO()
    try:
        image.save(file, kind, **options)
    except (OSError, ValueError):
        return False
    with Image.open(file) as again:
        depth, depth_again = (ImageMode.getmode(each.mode).typestr[1:] for each in (image, again))
        return depth == depth_again and image.has_transparency_data == again.has_transparency_data


def _exif(image: Image.Image) -> bytes:
    """The EXIF data of a file, without what describes the file rather than the photograph; may be empty."""
    original = image.getexif()
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if directory in original:
            original.get_ifd(directory)  # reads it; of a TIFF file, `tobytes` would else copy its offset
    exif = Image.Exif()  # a copy: the image needs its own to be turned upright
    exif.load(original.tobytes())
    for tag in LAYOUT_TAGS & set(exif):
        del exif[tag]
    return exif.tobytes() if exif else b""


def _loses_depth(path: Path, image: Image.Image) -> bool:
    """Whether the file has several channels of more than 8 bits: Pillow reads 8 of them without saying so."""
    if len(image.getbands()) == 1:
        return False
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24] > 8  # signature 8, chunk head 8, width 4, height 4, then the bit depth
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return bool(max(image.tag_v2.get(ExifTags.Base.BitsPerSample, (8,))) > 8)
    return False


@contextmanager
def _pillow_limit_lifted() -> Iterator[None]:
    """Lift Pillow's own limit on pixels, which is lower than `LARGEST` and comes with a warning."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
