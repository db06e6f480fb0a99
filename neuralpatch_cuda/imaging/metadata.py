"""What an image file says beside its pixels, and goes with them into another file of any format."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin

from neuralpatch_cuda.imaging import embedded, heif, jpeg, photoshop, png, xmp
from neuralpatch_cuda.imaging.extras import IPTC, LAYERS, Extras, extras_of

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
PHOTOSHOP = {ExifTags.Base.ImageResources, IPTC, LAYERS}
"""TIFF tags of what `Extras` has."""

RESOLUTION = (ExifTags.Base.XResolution, ExifTags.Base.YResolution)
EMPTY_EXIF = 8
"""Bytes of EXIF data in which there is nothing but a head."""
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
    extras: Extras = field(default_factory=Extras)
    """What few files have."""
    told: set[str] = field(default_factory=set, repr=False, compare=False)
    """Formats of which `left_out` was told already, which is done once."""

    @classmethod
    def of(cls, image: Image.Image, path: Path) -> Metadata:
        """The metadata of an opened file, for its image once that is upright.

        Args:
            image: as opened: of a TIFF file, Pillow gives no metadata once the pixels are read.
            path: its file.
        """
        if image.format == "PNG":
            image.load()  # metadata may follow the pixels
        damaged = ["damaged EXIF data"] if _drop_damaged_exif(image) else []
        exif = image.getexif()
        own, pictures = _photographs_own(exif)
        packet, announced = xmp.cleaned(image.info.get("xmp") or b"")
        extras = extras_of(path, image)
        left_out = tuple(dict.fromkeys([*extras.left_out, *announced, *damaged, *pictures]))
        has_shape = any(chunk.name == b"pHYs" for chunk in extras.chunks)  # of pixels, without a resolution
        return cls(
            icc_profile=image.info.get("icc_profile") or extras.icc_profile,
            exif=own,
            xmp=packet or None,
            dpi=None if has_shape else _dpi(image.info.get("dpi"), exif),
            jpeg=_compression(image),
            extras=replace(extras, left_out=left_out),
        )

    def left_out(self, kind: str) -> list[str]:
        """What does not go into a file of a Pillow format, in words that follow "without the photograph's"."""
        words = self.extras.left_out_of(kind, self.icc_profile is not None)
        if kind == "BMP":
            own = {"ICC profile": self.icc_profile, "EXIF data": self.exif, "XMP data": self.xmp}
            words += [word for word, data in own.items() if data]
        return list(dict.fromkeys(words))

    def tags(self, kind: str) -> Image.Exif:
        """The EXIF data as they go into a file of a Pillow format; a TIFF file's XMP data are among them."""
        tags = Image.Exif()
        tags.load(self.exif)
        if kind == "TIFF":
            tags.update(self._tiff_tags())
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

    def with_extras(self, kind: str, content: bytes) -> Iterator[bytes | memoryview]:
        """The parts of a file, as Pillow or libvips made it, with what these do not write."""
        extras = self.extras
        if kind == "PNG":
            own = [png.comment_chunk(comment) for comment in extras.comments]
            if extras.photoshop:
                own.append(png.profile_chunk("8bim", extras.photoshop))
            return png.with_chunks(content, (*extras.chunks, *own))
        if kind == "JPEG":
            resources = jpeg.split(jpeg.APP13, jpeg.PHOTOSHOP, extras.photoshop)
            comments = (jpeg.split(jpeg.COM, b"", comment) for comment in extras.comments)
            return jpeg.with_segments(content, chain(resources, extras.segments, *comments))
        codes = png.colour_codes(extras.chunks) if kind == "AVIF" else None
        return iter([content if codes is None else heif.with_codes(content, codes)])

    def _tiff_tags(self) -> Iterator[tuple[int, bytes]]:
        """What TIFF files have in tags, and others elsewhere."""
        if self.xmp:
            yield XMP, self.xmp
        if iptc := photoshop.iptc_of(self.extras.photoshop):
            yield IPTC, iptc
        if others := photoshop.without_iptc(self.extras.photoshop):
            yield ExifTags.Base.ImageResources, others


def _drop_damaged_exif(image: Image.Image) -> bool:
    """Take EXIF data of which nothing can be read from an opened image; tells whether there were such."""
    data = (image.info.get("exif") or b"").removeprefix(b"Exif\0\0").rstrip(b"\0")
    try:
        sound = len(image.getexif()) > 0
    except SyntaxError:
        sound = False
    if sound or len(data) <= EMPTY_EXIF:
        return False
    del image.info["exif"]
    return True


def _photographs_own(exif: Image.Exif) -> tuple[bytes, list[str]]:
    """The EXIF data without what describes the file rather than the photograph; may be empty.

    Returns:
        The data, and in words what was left out since it shows the photograph.
    """
    own = Image.Exif()  # a copy: the image needs its own to be turned upright
    left_out: list[str] = []
    tags = set(exif) - LAYOUT_TAGS - PHOTOSHOP - {XMP, ICC_PROFILE, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo}
    own.update(_without_pictures({tag: exif[tag] for tag in tags}, left_out))
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if entries := _without_pictures(exif.get_ifd(directory), left_out):
            own[directory] = entries
    details = own.get(ExifTags.IFD.Exif, {})
    if ExifTags.IFD.Interop in details:
        details[ExifTags.IFD.Interop] = exif.get_ifd(ExifTags.IFD.Interop)  # in place of its offset in the file
    across, down = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight
    if 5 <= exif.get(ExifTags.Base.Orientation, 1) <= 8 and across in details and down in details:
        details[across], details[down] = details[down], details[across]
    return own.tobytes() if own else b"", left_out


def _without_pictures(entries: Mapping[int, Any], left_out: list[str]) -> dict[int, Any]:
    """EXIF data without those, such as some makers' notes, that hold a preview; `left_out` gets their names."""
    kept = {}
    for tag, value in entries.items():
        if isinstance(value, bytes) and embedded.holds_picture(value):
            name = ExifTags.TAGS.get(tag, str(tag))
            left_out.append(f"EXIF data {name}, which hold a picture")
        else:
            kept[tag] = value
    return kept


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
