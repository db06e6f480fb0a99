"""Files of 16 bits in several channels, of which Pillow knows 8: their pixels, as numpy arrays.

libvips decodes them, and encodes PNG; TIFF is written uncompressed. The metadata are Pillow's work, as in all other
files: libvips writes no EXIF data to TIFF files, and adds to those of PNG files.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from neuralpatch_cuda.errors import ImageError
from neuralpatch_cuda.imaging import png
from neuralpatch_cuda.imaging.images import Array
from neuralpatch_cuda.imaging.metadata import ICC_PROFILE, RESOLUTION, XMP, Metadata

KINDS = ("PNG", "TIFF")
"""Pillow's names of the formats that are read and written."""

STRIP = 2**20
"""Bytes in a strip of a TIFF file, about."""

UNASSOCIATED_ALPHA = 2
"""Value of the TIFF tag ExtraSamples."""


def is_deep(path: Path, image: Image.Image) -> bool:
    """Whether an opened file has more than 8 bits per channel, in several channels or with a transparent colour."""
    if len(image.getbands()) == 1 and "transparency" not in image.info:
        return False
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24] > 8  # signature 8, chunk head 8, width 4, height 4, then the bit depth
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return bool(np.max(image.tag_v2.get(ExifTags.Base.BitsPerSample, 8)) > 8)
    return image.format == "TIFF"  # of `unknown_tiff`


def unknown_tiff(path: Path) -> Image.Image | None:
    """Metadata of a TIFF file whose kind of pixels Pillow does not know, such as 16-bit gray and alpha.

    Returns:
        An image of one pixel that stands for the opened file; None if the file is no TIFF file.
    """
    exif = Image.Exif()
    with path.open("rb") as file:
        if not TiffImagePlugin._accept(file.read(4)):
            return None
        file.seek(0)
        exif.load_from_fp(file)
        image = Image.new("LA", (1, 1))
        image.format = "TIFF"
        image.info = {"exif": exif.tobytes()}
        for name, tag in (("icc_profile", ICC_PROFILE), ("xmp", XMP)):
            if tag in exif:
                image.info[name] = exif[tag]
    return image


def open_pixels(path: Path) -> Any:
    """The pixels of a file as an image of libvips, of which the size is known and nothing decoded yet.

    Raises:
        ImageError: pyvips is missing, or the pixels are not gray, gray and alpha, RGB or RGBA of 16 bits.
        pyvips.Error: the file is damaged.
    """
    vips = _vips()
    # Not the name alone, of which libvips would take [...] for options; and not what it remembers of this name.
    image = vips.Image.new_from_source(
        vips.Source.new_from_file(str(path)), "", access="sequential", fail_on="error", revalidate=True
    )
    if image.format != "ushort" or image.interpretation not in ("rgb16", "grey16") or image.bands > 4:
        raise ImageError(
            f"{path} has {image.bands} channels of type {image.format} ({image.interpretation}), which cannot be "
            "filled; convert it to gray or RGB of 8 or 16 bits."
        )
    return image


def decode(image: Any, orientation: int) -> Array:
    """The pixels of what `open_pixels` gave, turned by an EXIF orientation: `[H, W, C]`, uint16.

    Raises:
        pyvips.Error: the file is damaged.
    """
    if 2 <= orientation <= 8:  # it takes random access
        image = image.copy_memory()
        image.set_type(_vips().GValue.gint_type, "orientation", orientation)
        image = image.autorot()
    pixels: Array = image.numpy()
    return pixels.reshape(image.height, image.width, image.bands)


def encode(pixels: Array, file: BinaryIO, kind: str, metadata: Metadata) -> None:
    """Write pixels `[H, W, C]`, uint16, as a file of one of `KINDS`.

    Raises:
        ImageError: pyvips is missing.
        OSError, ValueError, struct.error: they cannot be written.
    """
    if kind == "PNG":
        _write_png(pixels, file, metadata)
    else:
        _write_tiff(pixels, file, metadata)


def _write_png(pixels: Array, file: BinaryIO, metadata: Metadata) -> None:
    vips = _vips()
    height, width, channels = pixels.shape
    data = np.ascontiguousarray(pixels, np.uint16).data
    image = vips.Image.new_from_memory(data, width, height, channels, "ushort")
    try:
        content = image.copy(interpretation="rgb16" if channels > 2 else "grey16").pngsave_buffer(keep="none")
    except vips.Error as error:
        raise ValueError(str(error)) from error
    file.write(content[: png.HEAD])
    for name, chunk, _ in PngImagePlugin.getchunks(Image.new("L", (1, 1)), **metadata.options("PNG")):
        if name not in (b"IHDR", b"IDAT", b"IEND"):
            PngImagePlugin.putchunk(file, name, chunk)
    file.write(memoryview(content)[content.index(b"IDAT", png.HEAD) - 4 :])  # without what libvips says of its own


def _write_tiff(pixels: Array, file: BinaryIO, metadata: Metadata) -> None:
    height, width, channels = pixels.shape
    exif = metadata.tags("TIFF")
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    for tag in exif:
        tags[tag] = exif.get_ifd(tag) if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) else exif[tag]
    if metadata.icc_profile:
        tags[ICC_PROFILE] = metadata.icc_profile
    if metadata.dpi:
        tags[ExifTags.Base.ResolutionUnit] = 2
        for tag, dpi in zip(RESOLUTION, metadata.dpi, strict=True):
            tags[tag] = dpi
    if channels in (2, 4):
        tags[ExifTags.Base.ExtraSamples] = UNASSOCIATED_ALPHA
    row = 2 * width * channels
    rows = min(height, max(1, STRIP // row))
    sizes = [row * min(rows, height - top) for top in range(0, height, rows)]
    layout = {
        ExifTags.Base.ImageWidth: width,
        ExifTags.Base.ImageLength: height,
        ExifTags.Base.BitsPerSample: (16,) * channels,
        ExifTags.Base.Compression: 1,
        ExifTags.Base.PhotometricInterpretation: 2 if channels > 2 else 1,
        ExifTags.Base.StripOffsets: tuple(accumulate(sizes[:-1], initial=0)),  # from where the tags end
        ExifTags.Base.SamplesPerPixel: channels,
        ExifTags.Base.RowsPerStrip: rows,
        ExifTags.Base.StripByteCounts: tuple(sizes),
        ExifTags.Base.PlanarConfiguration: 1,
    }
    for tag in (ExifTags.Base.StripOffsets, ExifTags.Base.StripByteCounts):
        tags.tagtype[tag] = 4  # LONG: Pillow would take SHORT for small numbers
    for tag, value in layout.items():
        tags[tag] = value
    tags.save(file)
    file.write(np.ascontiguousarray(pixels, np.dtype("<u2")).data)


def _vips() -> Any:
    """The module pyvips, which photographs of 8 bits do not need."""
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: the library itself is missing
        raise ImageError(
            "Photographs of 16 bits in several channels need libvips; install it with: pip install pyvips pyvips-binary"
        ) from error
    return pyvips
