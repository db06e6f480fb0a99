"""Photographs and masks from image files, upright, and back with their metadata."""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import ExifTags, Image, ImageCms, ImageMode, PngImagePlugin, UnidentifiedImageError, _imaging

from neuralpatch_cuda.errors import ImageError, OutputError
from neuralpatch_cuda.imaging import deep, heif, jpeg, png
from neuralpatch_cuda.imaging.extras import Extras, bits_of
from neuralpatch_cuda.imaging.images import COLOUR_MODES, NATIVE_MODES, Array, size_of, upright
from neuralpatch_cuda.imaging.metadata import Metadata
from neuralpatch_cuda.imaging.painted import painted
from neuralpatch_cuda.imaging.whole import check_place, no_file, reason_of, written_whole

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".avif": ("AVIF", {"quality": 90, "subsampling": "4:4:4"}),
    # Uncompressed: with compression, Pillow cannot write the Exif and GPS directories.
    ".tif": ("TIFF", {"compression": "raw"}),
    ".tiff": ("TIFF", {"compression": "raw"}),
    ".bmp": ("BMP", {}),
}
"""Output formats by suffix, with how they are written. All but JPEG and AVIF keep every pixel exactly."""

AT_QUALITY: dict[str, dict[str, Any]] = {
    "JPEG": {"subsampling": "4:4:4"},
    "AVIF": {"subsampling": "4:4:4"},
    "WEBP": {"exact": True},
}
"""The formats that can be lossy, with how they are written where a quality is asked for."""

LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536}
"""Pixels, of the formats that have a limit."""

LARGEST = 300_000_000
"""Pixels beyond which an image is refused, so that a small malicious file cannot fill the memory."""

MOST_WORDS = 50
"""What is listed at most of what goes into no file."""

SRGB = ImageCms.createProfile("sRGB")

_opening = threading.Lock()
# What Pillow and its libtiff print names no file, and what they tell of is either read all the same or an error here.
# For the whole process: `warnings.catch_warnings` is not for several threads, and libtiff has one handler.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
with suppress(OSError, AttributeError):
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@dataclass(frozen=True)
class Photograph:
    """An image with what belongs to it in a file."""

    image: Any  # not a union: that would fit no type variable of `Inpainter`
    """The image, upright: PIL; or uint16 array `[H, W, C]` where a file has 16 bits in several channels."""
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width = size_of(self.image)
        return width, height

    def with_image(self, image: Image.Image | Array) -> Photograph:
        """Another image with the same metadata."""
        return replace(self, image=image)


def read_image(path: str | Path, largest: int = LARGEST) -> Photograph:
    """Read an image file that can be filled, of several frames or pages the first. May be called from several threads.

    Args:
        path: a file of any format Pillow knows but EPS; 16 bits in several channels are kept of PNG and TIFF files.
        largest: pixels beyond which it is refused before it is decoded.

    Returns:
        The photograph, its image as `images.upright` gives it, but CMYK as sRGB and a transparent colour as alpha.

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: not an image, damaged, of more than `largest` pixels, or of pixels that cannot be filled.

    Warns:
        UserWarning: the file has more frames or pages, or CMYK was converted.
    """
    photograph = _read(Path(path), largest)
    if isinstance(photograph.image, Image.Image) and photograph.image.mode not in (*NATIVE_MODES, *COLOUR_MODES):
        raise ImageError(
            f"{path} has pixels of PIL mode {photograph.image.mode}, which cannot be filled; convert it to gray or RGB."
        )
    return photograph


def read_mask(path: str | Path, largest: int = LARGEST) -> Array:
    """Read an image file as a mask, by the rule of `masks.to_hole` for images.

    Returns:
        `[H, W]`, bool; True = fill, or copy from here.

    Raises, Warns:
        as `read_image`, but for pixels of other kinds, and as `painted.painted`.
    """
    return painted(_read(Path(path), largest).image, f"mask {path}")


def check_writable(path: str | Path, photograph: Photograph | None = None) -> None:
    """Find out before any work is done whether an image can be written.

    Args:
        path: where it is to go; the suffix decides the format.
        photograph: with an image of the kind that will be written: whether the format can hold it and its metadata
            is checked, too.

    Raises:
        OutputError: the suffix is unknown, the format cannot hold such an image, the folder does not exist,
            or the file may not be written.

    Warns:
        UserWarning: the file will be without some of the metadata. That is told once of a photograph and a format.
    """
    path = Path(path)
    _format(path)
    check_place(path)
    if photograph is not None:
        _check_image(path, photograph)
        image = photograph.image
        pixel = image.crop((0, 0, 1, 1)) if isinstance(image, Image.Image) else image[:1, :1]
        try:
            _encode(photograph.with_image(pixel), BytesIO(), path.suffix)
        except (OSError, ValueError) as error:
            raise OutputError(f"Cannot write {path}: {reason_of(error)}.") from error
        _tell_what_is_left_out(path, photograph)


def left_out(path: str | Path, photograph: Photograph) -> str | None:
    """Say in a sentence which metadata do not go into a file; None if all do.

    Raises:
        OutputError: the suffix is unknown.
    """
    path = Path(path)
    kind, _ = _format(path)
    words = photograph.metadata.left_out(kind)
    if not words:
        return None
    if len(words) > MOST_WORDS:
        words[MOST_WORDS - 1 :] = [f"{len(words) - MOST_WORDS + 1} others"]
    *first, last = words
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"{path} is written without the photograph's {listed}."


def write_image(photograph: Photograph, path: str | Path, quality: int | None = None) -> None:
    """Write a photograph with its metadata. `path` is never left half-written.

    Args:
        photograph: what to write.
        path: where to; the suffix decides the format, see `FORMATS`.
        quality: 1 (worst) to 100, for JPEG, AVIF and WebP, which is lossless without it; a JPEG file that was one
            before is compressed as it was without it. Formats that are always lossless ignore it.

    Raises:
        OutputError: it could not be written; `path` is untouched.

    Warns:
        UserWarning: as `check_writable`.
    """
    path = Path(path)
    _format(path)
    if quality is not None and not 1 <= quality <= 100:
        raise OutputError(f"Cannot write {path}: the quality must be from 1 to 100, not {quality}.")
    _check_image(path, photograph)
    _tell_what_is_left_out(path, photograph)
    with written_whole(path) as file:
        _encode(photograph, file, path.suffix, quality)


def _read(path: Path, largest: int) -> Photograph:
    """Read a file, whatever kind of pixels it has. Of what Pillow and libvips raise on damaged files, all is caught."""
    if not path.is_file():
        raise FileNotFoundError(no_file(path) if not path.exists() else f"{path} is not a file.")
    try:
        with _opened(path) as image:
            return _decoded(path, image, largest)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not an image that can be read.") from None
    except MemoryError as error:
        raise ImageError(f"{path} needs more memory than there is.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise ImageError(f"{path} cannot be read: {error.strerror}.") from error
        raise ImageError(f"{path} is damaged: {reason_of(error)}.") from error


def _opened(path: Path) -> Image.Image:
    """An image of which nothing but the header is read yet, however large it is."""
    if heif.is_heic(path):
        return heif.open_heic(path)
    try:
        with _opening:  # global variables of Pillow are changed: its own limits are lower than photographs need
            Image.init()
            formats = [name for name in Image.ID if name != "EPS"]  # which are programs, run by Ghostscript
            limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = None, png.LARGEST_PROFILE
            try:
                return Image.open(path, formats=formats)
            finally:
                Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = limits
    except UnidentifiedImageError:
        if (image := deep.unknown_tiff(path)) is None:
            raise
        return image


def _decoded(path: Path, image: Image.Image, largest: int) -> Photograph:
    _check_size(path, image, largest)
    frames, bits = getattr(image, "n_frames", 1), bits_of(path, image)
    if deep.is_deep(path, image):
        pixels = deep.open_pixels(path)
        _check_size(path, pixels, largest)
        metadata = Metadata.of(image, path)
        photograph = Photograph(deep.decode(pixels, image.getexif().get(ExifTags.Base.Orientation, 1)), metadata)
    else:
        photograph = _with_plain_colours(path, Photograph(image, Metadata.of(image, path)))
    if image.format == "MPO":
        frames -= jpeg.previews_and_gain_maps(image, photograph.metadata.extras.left_out)
    unread = [f"{frames} frames or pages, of which only the first is read"] if frames > 1 else []
    unread += [f"{bits} bits per channel, of which 8 are read"] if bits > 8 else []
    if unread:
        warnings.warn(f"{path} has {', and '.join(unread)}.", stacklevel=4)
    return photograph


def _with_plain_colours(path: Path, opened: Photograph) -> Photograph:
    """The image upright, a transparent colour as alpha, CMYK as sRGB."""
    image, metadata = upright(opened.image), opened.metadata
    if image.mode == "I" and opened.image.format == "PPM":  # of 16 bits, scaled by Pillow
        image = image.convert("I;16")
    if image.mode in ("L", "RGB") and "transparency" in image.info:
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    if image.mode == "CMYK":
        image, way = _srgb_of_cmyk(image, metadata.icc_profile)
        metadata = replace(metadata, icc_profile=ImageCms.ImageCmsProfile(SRGB).tobytes())
        warnings.warn(f"{path} is a CMYK image: it was converted to sRGB {way}.", stacklevel=5)
    image.info = {}  # what is to be kept is in the metadata
    return Photograph(image, metadata)


def _check_size(path: Path, image: Any, largest: int) -> None:
    if image.width * image.height > largest:
        size = f"{image.width} x {image.height} px"
        raise ImageError(f"{path} is {size}, more than the {largest / 10**6:g} megapixels allowed.")


def _srgb_of_cmyk(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """A CMYK image in sRGB, through its own profile if that can be used, and in words how."""
    try:
        converted = ImageCms.profileToProfile(
            image,
            BytesIO(profile or b""),
            SRGB,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:
        return image.convert("RGB"), "without a colour profile, as it has none that can be used"
    assert converted is not None  # it is not done in place
    return converted, "by its colour profile"


def _format(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise OutputError(
            f"Cannot write {path}: its suffix must be one of {', '.join(FORMATS)}, which decides the format."
        ) from None


def _encode(photograph: Photograph, file: BinaryIO, suffix: str, quality: int | None = None) -> None:
    """Write a photograph, of a kind that the format can hold.

    Raises:
        OSError, ValueError: it could not be written.
    """
    image, metadata = photograph.image, photograph.metadata
    kind, options = FORMATS[suffix.lower()]
    if kind == "JPEG" and metadata.jpeg:
        options = metadata.jpeg
    if quality is not None and kind in AT_QUALITY:
        options = AT_QUALITY[kind] | {"quality": quality}
    encoded = file if metadata.extras == Extras() else BytesIO()
    try:
        if isinstance(image, Image.Image):
            image.save(encoded, kind, **options, **metadata.options(kind))
        else:
            deep.encode(image, encoded, kind, metadata)
        if isinstance(encoded, BytesIO) and encoded is not file:
            file.writelines(metadata.with_extras(kind, encoded.getvalue()))
    except (OSError, ValueError):
        raise
    except Exception as error:  # Pillow raises errors of many kinds on odd metadata
        raise ValueError(reason_of(error)) from error


def _check_image(path: Path, photograph: Photograph) -> None:
    """Make sure that the format can hold images of this kind and size."""
    image = photograph.image
    kind, _ = _format(path)
    if not _holds(path.suffix, image):
        fitting = ", ".join(suffix for suffix in FORMATS if _holds(suffix, image))
        advice = f"use one of {fitting}" if fitting else "no format can"
        what = f"an image of mode {image.mode}" if isinstance(image, Image.Image) else "several channels of 16 bits"
        raise OutputError(f"Cannot write {path}: {kind} cannot hold {what}; {advice}.")
    side, longest = max(photograph.size), LONGEST_SIDE.get(kind)
    if longest is not None and side > longest:
        raise OutputError(f"Cannot write {path}: {kind} can hold {longest} px each way, not {side}; use .png or .tif.")


def _tell_what_is_left_out(path: Path, photograph: Photograph) -> None:
    """Warn of the metadata that do not go into a file, if that was not done yet."""
    kind, _ = _format(path)
    told = photograph.metadata.told
    if kind not in told and (sentence := left_out(path, photograph)):
        warnings.warn(sentence, stacklevel=3)
    told.add(kind)


def _holds(suffix: str, image: Image.Image | Array) -> bool:
    """Whether a format can hold images of a kind, with their depth and their transparency."""
    kind, _ = FORMATS[suffix.lower()]
    if not isinstance(image, Image.Image):
        return kind in deep.KINDS
    pixel, file = image.crop((0, 0, 1, 1)), BytesIO()
    try:
        _encode(Photograph(pixel), file, suffix)
    except (OSError, ValueError):
        return False
    with Image.open(file) as again:
        depth, depth_again = (ImageMode.getmode(each.mode).typestr[1:] for each in (pixel, again))
        return depth == depth_again and pixel.has_transparency_data == again.has_transparency_data
