"""HEIC and AVIF files: what they hold beside the first picture, and how HEIC is opened."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from neuralpatch_cuda.errors import ImageError
from neuralpatch_cuda.imaging import embedded

BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
"""Of HEIC files; the last two of AVIF files, too, which name their own besides."""

OUTER = {b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"mfra", b"sidx", b"pdin", b"free", b"skip", b"wide"}
"""Boxes that hold or describe pictures, or nothing."""
C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
PICTURES = {b"av01", b"hvc1", b"hev1", b"grid", b"iden", b"iovl", b"Exif", b"XMP", b"hvt1", b"tmap"}
"""Kinds of items that are read, are parts of pictures, or are told by what belongs to them."""
ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
AUXILIARY = {
    b"urn:com:apple:photo:2020:aux:hdrgainmap": embedded.GAIN_MAP,
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth": embedded.DEPTH_MAP,
    b"urn:mpeg:hevc:2015:auxid:2": embedded.DEPTH_MAP,
}
BRIGHTNESS = {b"clli": "brightness (clli)", b"mdcv": "brightness (mdcv)", b"cclv": "brightness (cclv)"}

Box = tuple[bytes, bytes]
"""Kind and content."""


@dataclass(frozen=True)
class Contents:
    """What a file has beside what Pillow reads."""

    bits: int = 8
    """Per channel of the first picture."""
    codes: tuple[int, int] | None = None
    """Primaries and transfer by their numbers in ITU-T H.273, where no ICC profile tells the colours."""
    left_out: tuple[str, ...] = ()
    """What does not stay, in words."""


def is_heic(path: Path) -> bool:
    """Whether a file is one of those that Pillow alone cannot open."""
    with path.open("rb") as file:
        head = file.read(8)
        brands = file.read(min(64, int.from_bytes(head[:4], "big")))
    return head[4:] == b"ftyp" and brands[:4] in BRANDS and b"avif" not in brands


def open_heic(path: Path) -> Image.Image:
    """Open a HEIC file, of which nothing but the header is read yet.

    Raises:
        ImageError: pillow-heif is missing.
        SyntaxError: the file is damaged.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise ImageError(
            f"{path} is a HEIC (HEIF) file, which needs pillow-heif; install it with: pip install pillow-heif"
        ) from error
    image: Image.Image = HeifImageFile(path)  # type: ignore[no-untyped-call,unused-ignore]  # not registered with Pillow, which belongs to the whole process
    return image


def read_contents(path: Path) -> Contents:
    """Read the boxes of a HEIC or AVIF file that is known to be sound."""
    content = path.read_bytes()
    outer = list(boxes(content))
    left_out = [_outer_word(kind, data) for kind, data in outer if kind not in OUTER]
    meta = dict(boxes(dict(outer).get(b"meta", b"")[4:]))
    items = dict(boxes(meta.get(b"iprp", b"")))
    properties = list(boxes(items.get(b"ipco", b"")))
    kinds = _item_kinds(meta.get(b"iinf", b""))
    for kind, data in properties:
        if kind == b"auxC" and not data[4:].startswith(ALPHA):
            urn = data[4:].partition(b"\0")[0]
            left_out.append(AUXILIARY.get(urn, f"auxiliary picture ({embedded.printable(urn)})"))
    if b"tmap" in kinds:
        left_out.append(embedded.GAIN_MAP)
    left_out += [f"item {embedded.printable(kind).strip()}" for kind in kinds if kind not in PICTURES]
    bits, codes, with_profile = 8, None, False
    for kind, data in _of_primary(meta, items.get(b"ipma", b""), properties):
        if kind == b"pixi":
            bits = max(data[5:] or b"\x08")
        elif kind == b"av1C" and data[2] & 0x40:
            bits = max(bits, 12 if data[2] & 0x20 else 10)
        elif kind == b"colr" and data.startswith(b"nclx"):
            primaries, transfer = struct.unpack_from(">HH", data, 4)
            codes = (primaries, transfer)
        elif kind == b"colr":
            with_profile = True
        elif kind in BRIGHTNESS:
            left_out.append(BRIGHTNESS[kind])
    return Contents(bits, None if with_profile else codes, tuple(left_out))


def with_codes(content: bytes, codes: tuple[int, int]) -> bytes:
    """An AVIF file, as Pillow made it, that tells what its colours mean."""
    at = content.index(b"colrnclx") + 8
    return content[:at] + struct.pack(">HH", *codes) + content[at + 4 :]


def boxes(content: bytes) -> Iterator[Box]:
    """The boxes in some content, as far as they are sound."""
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        head = 8
        if size == 1 and at + 16 <= len(content):
            (size,) = struct.unpack_from(">Q", content, at + 8)
            head = 16
        end = len(content) if size == 0 else at + size
        if not at + head <= end <= len(content):
            return
        yield kind, content[at + head : end]
        at = end


def _outer_word(kind: bytes, data: bytes) -> str:
    if kind == b"uuid" and data.startswith(C2PA):
        return embedded.C2PA
    return embedded.VIDEO if kind == b"mpvd" else f"box {embedded.printable(kind).strip()}"


def _item_kinds(iinf: bytes) -> list[bytes]:
    kinds = []
    for kind, data in boxes(iinf[6 if iinf[:1] == b"\0" else 8 :]):
        if kind == b"infe" and data[:1] in (b"\2", b"\3"):
            at = 8 if data[0] == 2 else 10
            kinds.append(b"XMP" if b"application/rdf+xml" in data else data[at : at + 4])
    return kinds


def _of_primary(meta: dict[bytes, bytes], ipma: bytes, properties: list[Box]) -> list[Box]:
    """The properties of the first picture."""
    pitm = meta.get(b"pitm", b"")
    primary = int.from_bytes(pitm[4:], "big")
    wide_item, wide_index = ipma[:1] != b"\0", bool(ipma[3:4]) and bool(ipma[3] & 1)
    (count,) = struct.unpack(">I", ipma[4:8] or bytes(4))
    at = 8
    for _ in range(count):
        size = 4 if wide_item else 2
        item, number = int.from_bytes(ipma[at : at + size], "big"), (ipma[at + size : at + size + 1] or b"\0")[0]
        at += size + 1
        step = 2 if wide_index else 1
        indices = [
            int.from_bytes(ipma[each : each + step], "big") & (0x7FFF if wide_index else 0x7F)
            for each in range(at, at + number * step, step)
        ]
        at += number * step
        if at > len(ipma):
            return []
        if item == primary:
            return [properties[index - 1] for index in indices if 0 < index <= len(properties)]
    return []
