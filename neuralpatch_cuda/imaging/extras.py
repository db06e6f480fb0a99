"""What files of all formats hold beside what Pillow hands on."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from neuralpatch_cuda.imaging import embedded, heif, jpeg, photoshop, png, xmp

JP2_IMAGE = {b"jP  ", b"ftyp", b"jp2h", b"jp2c", b"rreq"}
"""Boxes of JPEG 2000 files that hold or describe the pixels."""
WEBP_READ = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "}
"""Chunks of WebP files that are read by Pillow, or hold pixels."""
GIF_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
"""Applications' data in GIF files that tell how often frames are shown."""
IPTC, LAYERS = 33723, 37724
"""TIFF tags; layers of Photoshop show what is to be filled."""
PPM_NUMBER = rb"(?:\s|#[^\r\n]*[\r\n])+\d+"
PPM_HEAD = re.compile(rb"P(?:[14](?:%b){2}|[2356](?:%b){3})" % (PPM_NUMBER, PPM_NUMBER))


@dataclass(frozen=True)
class Extras:
    """What a file holds beside pixels, ICC profile, EXIF and XMP data and resolution."""

    comments: tuple[bytes, ...] = ()
    """Text in UTF-8 or Latin-1."""
    photoshop: bytes = b""
    """Photoshop's resources, IPTC data among them."""
    chunks: tuple[png.Chunk, ...] = ()
    """Of PNG files."""
    segments: tuple[jpeg.Segment, ...] = ()
    """Of JPEG files."""
    icc_profile: bytes | None = None
    """Where Pillow reads none."""
    left_out: tuple[str, ...] = ()
    """What goes into no file, in words that follow "without the photograph's"."""

    def left_out_of(self, kind: str, with_profile: bool) -> list[str]:
        """What does not go into a file of a Pillow format, in words.

        Args:
            kind: the format.
            with_profile: whether an ICC profile tells what the colours mean.
        """
        words = list(self.left_out)
        if self.comments and kind not in ("PNG", "JPEG"):
            words.append("comment")
        if self.photoshop and kind not in ("PNG", "JPEG", "TIFF"):
            words.append("IPTC data" if photoshop.iptc_of(self.photoshop) else "Photoshop resources")
        if kind != "JPEG":
            words += [jpeg.word_of(segment) for segment in self.segments]
        if kind != "PNG":
            words += png.words_elsewhere(self.chunks, with_profile, codes=kind == "AVIF")
        return words


def bits_of(path: Path, image: Image.Image) -> int:
    """Bits per channel that a file has of the pixels that Pillow reads with 8; 8 where that cannot be found."""
    try:
        return _bits(path, image)
    except (struct.error, LookupError, ValueError):
        return 8


def _bits(path: Path, image: Image.Image) -> int:
    if image.mode in ("I;16", "I;16B", "I", "F"):
        return 8
    if image.format in ("AVIF", "HEIF"):
        return heif.read_contents(path).bits
    with path.open("rb") as file:
        head = file.read(2**16)
    if image.format == "PPM" and (match := PPM_HEAD.match(head)):
        numbers = re.sub(rb"#[^\r\n]*", b"", match[0]).split()
        return int(numbers[3]).bit_length() if len(numbers) > 3 else 8
    if image.format == "SGI":
        return 8 * head[3]
    if image.format == "JPEG2000" and (at := head.find(b"\xff\x4f\xff\x51")) >= 0:
        return (head[at + 42] & 0x7F) + 1  # of the first channel, in the codestream's header
    return 8


def extras_of(path: Path, image: Image.Image) -> Extras:
    """Read what an opened file holds beside what Pillow hands on. Damage there is no error: it is left out."""
    in_tags = _of_tags(image.getexif())
    try:
        extras = _of_format(path, image)
    except (struct.error, LookupError, ValueError):
        extras = Extras(left_out=("damaged metadata",))
    left_out = (*extras.left_out, *in_tags.left_out)
    return replace(extras, photoshop=extras.photoshop or in_tags.photoshop, left_out=left_out)


def _of_format(path: Path, image: Image.Image) -> Extras:
    kind = image.format
    if kind == "PNG":
        return _png(path, image)
    if kind in ("JPEG", "MPO"):
        several = "mp" in image.info or embedded.GAIN_MAP in xmp.cleaned(image.info.get("xmp") or b"")[1]
        found = jpeg.read_contents(path, several)
        resources, left_out = photoshop.cleaned(found.photoshop)
        if found.with_profile and not image.info.get("icc_profile"):
            left_out.append(embedded.DAMAGED_PROFILE)
        return Extras(found.comments, resources, (), found.segments, left_out=(*found.left_out, *left_out))
    if kind in ("AVIF", "HEIF"):
        boxes = heif.read_contents(path)
        chunks = () if boxes.codes is None or boxes.codes in png.SRGB_CODES else (png.cicp_chunk(*boxes.codes),)
        return Extras(chunks=chunks, left_out=boxes.left_out)
    if kind == "PSD":
        return _psd(image)
    return _READERS[kind](path.read_bytes()) if kind in _READERS else Extras()


def _png(path: Path, image: Image.Image) -> Extras:
    found = png.read_contents(path)
    resources, left_out = b"", list(found.left_out)
    for kind, data in found.profiles.items():
        if kind in ("iptc", "8bim") and data:
            resources += data if data.startswith(b"8BIM") else photoshop.build(photoshop.IPTC, data)
        elif kind not in ("exif", "icc", "icm"):  # Pillow reads the first
            left_out.append(f"text ({embedded.printable(png.RAW_PROFILE + kind.encode('latin-1'))})")
    resources, damaged = photoshop.cleaned(resources)
    profile = found.profiles.get("icc") or found.profiles.get("icm") or None
    if found.with_profile and not image.info.get("icc_profile"):
        left_out.append(embedded.DAMAGED_PROFILE)
    return Extras((), resources, found.chunks, icc_profile=profile, left_out=(*left_out, *damaged))


def _of_tags(tags: Image.Exif) -> Extras:
    """Of a TIFF file, or what TIFF files have in EXIF data."""
    raw = getattr(tags._info, "_tagdata", {})  # many programs write IPTC data as integers, of which Pillow gives one
    resources: bytes = raw.get(ExifTags.Base.ImageResources, b"")
    if (iptc := raw.get(IPTC)) and not photoshop.iptc_of(resources):
        resources = photoshop.build(photoshop.IPTC, iptc) + resources
    resources, left_out = photoshop.cleaned(resources)
    if LAYERS in tags:
        left_out.append("Photoshop layers")
    if ExifTags.Base.SubIFDs in tags:
        left_out.append("pictures of other sizes (SubIFDs)")
    return Extras(photoshop=resources, left_out=tuple(left_out))


def _psd(image: Any) -> Extras:
    resources = {number: data for number, _, data in image.resources}
    kept, left_out = photoshop.cleaned(b"".join(photoshop.build(*resource) for resource in resources.items()))
    own = {1058: "EXIF data", 1060: "XMP data"}
    return Extras(photoshop=kept, left_out=(*left_out, *(own[number] for number in own if number in resources)))


def _webp(content: bytes) -> Extras:
    words, at = [], 12
    end = min(len(content), 8 + int.from_bytes(content[4:8], "little"))
    while at + 8 <= end:
        kind, size = struct.unpack_from("<4sI", content, at)
        if kind == b"C2PA":
            words.append(embedded.C2PA)
        elif kind not in WEBP_READ:
            words.append(f"chunk {embedded.printable(kind)}")
        at += 8 + size + size % 2
    if word := embedded.after_end(content[end + end % 2 :]):
        words.append(word)
    return Extras(left_out=tuple(words))


def _gif(content: bytes) -> Extras:
    comments, words = [], []
    at = 13 + _palette_size(content[10])
    while at < len(content) and content[at] in (0x21, 0x2C):
        if content[at] == 0x2C:  # a picture
            at = _sub_blocks(content, at + 11 + _palette_size(content[at + 9]))[1]
            continue
        label, (data, at) = content[at + 1], _sub_blocks(content, at + 2)
        if label == 0xFE:
            comments.append(b"".join(data))
        elif label == 0xFF and data and data[0] not in GIF_LOOPS:
            words.append(f"data of {embedded.printable(data[0])}")
    if content[at : at + 1] == b";" and (word := embedded.after_end(content[at + 1 :])):
        words.append(word)
    return Extras(tuple(comments), left_out=tuple(words))


def _palette_size(flags: int) -> int:
    """Bytes of a palette in a GIF file."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _sub_blocks(content: bytes, at: int) -> tuple[list[bytes], int]:
    """Blocks of a GIF file up to an empty one, and where they end."""
    blocks = []
    while at < len(content) and (size := content[at]):
        blocks.append(content[at + 1 : at + 1 + size])
        at += 1 + size
    return blocks, at + 1


def _bmp(content: bytes) -> Extras:
    (size,) = struct.unpack_from("<I", content, 14)
    space = content[70:74] if size >= 108 else b"BGRs"
    if space == b"DEBM" and size >= 124:
        offset, length = struct.unpack_from("<II", content, 126)
        return Extras(icc_profile=content[14 + offset : 14 + offset + length])
    if space in (b"BGRs", b" niW") or not any(content[70:122]):
        return Extras()
    return Extras(left_out=("colour space (of its BMP header)",))


def _tga(content: bytes) -> Extras:
    name = content[18 : 18 + content[0]].rstrip(b"\0")
    foot = content[-26:]
    areas = foot[8:].startswith(b"TRUEVISION-XFILE") and any(foot[:8])
    return Extras((name,) if name else (), left_out=("extension areas",) if areas else ())


def _ppm(content: bytes) -> Extras:
    match = PPM_HEAD.match(content[: 2**16])
    comments = re.findall(rb"#[ \t]*([^\r\n]+)", match[0]) if match else ()
    return Extras(tuple(comments))


def _jpeg2000(content: bytes) -> Extras:
    kinds = [kind for kind, _ in heif.boxes(content) if kind not in JP2_IMAGE] if content[4:8] == b"jP  " else []
    return Extras(left_out=tuple(f"box {embedded.printable(kind).strip()}" for kind in kinds))


_READERS: dict[str, Callable[[bytes], Extras]] = {
    "WEBP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
    "DIB": _bmp,
    "TGA": _tga,
    "PPM": _ppm,
    "JPEG2000": _jpeg2000,
}
"""By Pillow's names."""
