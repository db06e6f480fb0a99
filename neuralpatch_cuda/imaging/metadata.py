"""What an image file says beside its pixels, and goes with them into another file of any format."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin

LAYOUT_TAGS = {
    ExifTags.Base.NewSubfileType,
    ExifTags.Base.SubfileType,
    *range(ExifTags.Base.ImageWidth, ExifTags.Base.PhotometricInterpretation + 1),
    ExifTags.Base.FillOrder,
    ExifTags.Base.StripOffsets,
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
    ExifTags.Base.JpegIFOffset,
    ExifTags.Base.JpegIFByteCount,
}
"""TIFF tags that say how one file holds its pixels; Pillow gives them as EXIF data, not to be copied."""

XMP, ICC_PROFILE = ExifTags.Base.XMLPacket, ExifTags.Base.InterColorProfile
PHOTOSHOP = {ExifTags.Base.ImageResources, 37724}
"""TIFF tags of Photoshop's own data: previews and layers, which show what is to be filled."""

RESOLUTION = (ExifTags.Base.XResolution, ExifTags.Base.YResolution)
LARGEST_DPI = 65535
"""As JPEG files can hold."""


@dataclass(frozen=True)
class Metadata:
    """The metadata of an upright image."""

    icc_profile: bytes | None = None
    exif: bytes = b""
    """EXIF data as in a JPEG file, without orientation and thumbnail."""
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    """Pixels per inch, across and down."""
    jpeg: dict[str, Any] = field(default_factory=dict)
    """How a JPEG file was compressed, as options for Pillow; empty for other files."""

    @classmethod
    def of(cls, image: Image.Image) -> Metadata:
        """The metadata of an opened file, for its image once that is upright.

        Args:
            image: as opened: of a TIFF file, Pillow gives no metadata once the pixels are read.
        """
        if image.format == "PNG":
            image.load()  # metadata may follow the pixels
        exif = image.getexif()
        xmp = image.info.get("xmp")
        return cls(
            icc_profile=image.info.get("icc_profile"),
            exif=_photographs_own(exif),
            xmp=xmp and re.sub(rb'(tiff:Orientation(?:\s*=\s*["\']|>))[2-8]', rb"\g<1>1", xmp),
            dpi=_dpi(image.info.get("dpi"), exif),
            jpeg=_compression(image),
        )

    def tags(self, kind: str) -> Image.Exif:
        """The EXIF data as they go into a file of a Pillow format; a TIFF file's XMP data are among them."""
        tags = Image.Exif()
        tags.load(self.exif)
        if kind == "TIFF" and self.xmp:
            tags[XMP] = self.xmp
        if kind in ("WEBP", "AVIF") and self.dpi and not all(tag in tags for tag in RESOLUTION):
            tags[ExifTags.Base.ResolutionUnit] = 2
            for tag, dpi in zip(RESOLUTION, self.dpi, strict=True):
                tags[tag] = dpi
        return tags

    def options(self, kind: str) -> dict[str, Any]:
        """What Pillow's `save` is told, so that the metadata go into a file of a format as far as it can hold them."""
        options: dict[str, Any] = {"icc_profile": self.icc_profile}  # None, too: else the one in the image's `info`
        if tags := self.tags(kind):
            options["exif"] = tags
        if self.dpi:
            options["dpi"] = self.dpi
        if self.xmp and kind == "PNG":
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", self.xmp.decode("utf-8", "replace"))
        elif self.xmp and kind != "TIFF":
            options["xmp"] = self.xmp
        return options


def _photographs_own(exif: Image.Exif) -> bytes:
    """The EXIF data without what describes the file rather than the photograph; may be empty."""
    own = Image.Exif()  # a copy: the image needs its own to be turned upright
    for tag in set(exif) - LAYOUT_TAGS - PHOTOSHOP - {XMP, ICC_PROFILE, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo}:
        own[tag] = exif[tag]
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if entries := dict(exif.get_ifd(directory)):
            own[directory] = entries
    details = own.get(ExifTags.IFD.Exif, {})
    if ExifTags.IFD.Interop in details:
        details[ExifTags.IFD.Interop] = exif.get_ifd(ExifTags.IFD.Interop)  # in place of its offset in the file
    across, down = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight
    if 5 <= exif.get(ExifTags.Base.Orientation, 1) <= 8 and across in details and down in details:
        details[across], details[down] = details[down], details[across]
    return own.tobytes() if own else b""


def _dpi(stated: Any, exif: Image.Exif) -> tuple[float, float] | None:
    """The resolution that a file states, or its EXIF data, if it can be one."""
    if stated is None and all(tag in exif for tag in RESOLUTION):
        unit = 2.54 if exif.get(ExifTags.Base.ResolutionUnit) == 3 else 1.0
        stated = [exif[tag] * unit for tag in RESOLUTION]
    across, down = (float(value) for value in stated or (0, 0))
    possible = all(math.isfinite(value) and 0 < value <= LARGEST_DPI for value in (across, down))
    return (across, down) if possible else None


def _compression(image: Image.Image) -> dict[str, Any]:
    """Options that compress an image as an opened JPEG file is; empty for other formats and for CMYK."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.mode == "CMYK":
        return {}
    return {
        "qtables": image.quantization,
        "subsampling": max(JpegImagePlugin.get_sampling(image), 0),  # 4:4:4 for what Pillow has no name for
        "progressive": bool(image.info.get("progressive")),
    }
