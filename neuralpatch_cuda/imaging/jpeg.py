"""Segments of JPEG files that Pillow does not hand on, read and written."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralpatch_cuda.imaging import embedded

Segment = tuple[int, bytes]
"""Marker and content."""

EOI, COM, APP0, APP2, APP13, APP15 = 0xD9, 0xFE, 0xE0, 0xE2, 0xED, 0xEF
MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""Of segments; others are part of the compressed pixels."""
NUL = b"\0"
LONGEST = 65533
"""Bytes of content."""

PHOTOSHOP = b"Photoshop 3.0\0"
PROFILE = b"ICC_PROFILE\0"
READ = {
    0xE0: (b"JFIF\0", b"JFXX\0"),
    0xE1: (b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0"),
    APP2: (PROFILE, b"MPF\0"),
    0xEE: (b"Adobe",),
}
"""How the segments begin that are read by Pillow or say how the file is laid out; thumbnails are not for keeping."""
LEFT_OUT = {
    (0xE1, b"http://ns.adobe.com/xmp/extension/\0"): "extended XMP data",
    (0xE1, b"FLIR\0"): "thermal picture",
    (0xE2, b"urn:iso:std:iso:ts:21496:-1\0"): embedded.GAIN_MAP,
    (0xE2, b"FPXR\0"): "FlashPix data",
    (0xEB, b"JP"): f"{embedded.C2PA} or other JUMBF data",
    (0xEB, b"HDR_RI"): "HDR picture",
}
"""How the segments begin that show what is taken out, or are not true any more, with what they are."""

MP_ENTRIES = 0xB002
"""TIFF tag of the pictures in an MPO file."""


@dataclass(frozen=True)
class Contents:
    """What a JPEG file has beside what Pillow reads."""

    comments: tuple[bytes, ...]
    photoshop: bytes
    """Photoshop's resources."""
    segments: tuple[Segment, ...]
    """Others that stay."""
    left_out: tuple[str, ...]
    """What does not stay, in words."""
    with_profile: bool
    """Whether there is an ICC profile, damaged or not."""


def read_contents(path: Path, several: bool) -> Contents:
    """Read the segments of a JPEG file that is known to be sound.

    Args:
        path: the file.
        several: whether other pictures may follow the first, which are told elsewhere.
    """
    content = path.read_bytes()
    comments, photoshop, left_out = [], b"", []
    groups: dict[tuple[int, bytes], list[Segment]] = defaultdict(list)
    end, with_profile = len(content), False
    for marker, start, end in _segments(content):
        data = content[start:end]
        word = next((word for (of, head), word in LEFT_OUT.items() if of == marker and data.startswith(head)), None)
        with_profile |= marker == APP2 and data.startswith(PROFILE)
        if marker == COM:
            comments.append(data)
        elif marker == APP13 and data.startswith(PHOTOSHOP):
            photoshop += data[len(PHOTOSHOP) :]
        elif word is not None:
            left_out.append(word)
        elif APP0 <= marker <= APP15 and not data.startswith(READ.get(marker, ())):
            groups[marker, data[:32].partition(NUL)[0]].append((marker, data))
    segments: list[Segment] = []
    for group in groups.values():
        if sum(len(data) for _, data in group) > LONGEST or any(embedded.holds_picture(data) for _, data in group):
            left_out.append(word_of(group[0]))
        else:
            segments += group
    rest = embedded.after_end(content[end:])
    if rest == embedded.VIDEO or (rest and not several and embedded.GAIN_MAP not in left_out):
        left_out.append(rest)
    return Contents(tuple(comments), photoshop, tuple(segments), tuple(left_out), with_profile)


def previews_and_gain_maps(image: Any, left_out: Collection[str]) -> int:
    """How many of an opened MPO file's pictures show no more than the first does: previews, and a gain map."""
    kinds: list[str] = [entry["Attribute"]["MPType"] for entry in image.mpinfo.get(MP_ENTRIES, ())]
    return sum(kind.startswith("Large Thumbnail") for kind in kinds) + (embedded.GAIN_MAP in left_out)


def with_segments(content: bytes, segments: Iterable[Segment]) -> Iterator[bytes | memoryview]:
    """The parts of a JPEG file, as Pillow made it, with more segments, after those that it has of this kind."""
    at = 2
    while APP0 <= content[at + 1] <= APP15:
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    view = memoryview(content)
    yield view[:at]
    for marker, data in segments:
        yield struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
    yield view[at:]


def split(marker: int, head: bytes, data: bytes) -> Iterator[Segment]:
    """Data of any length as segments that begin alike."""
    step = LONGEST - len(head)
    for at in range(0, len(data), step):
        yield marker, head + data[at : at + step]


def word_of(segment: Segment) -> str:
    """What a segment is, for a user."""
    marker, data = segment
    return f"segment APP{marker - APP0} {embedded.printable(data[:32].partition(NUL)[0])}".rstrip()


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the content of each segment, those between scans included, up to the end."""
    at = 2
    while match := MARKER.search(content, at):
        marker, start = content[match.start() + 1], match.end()
        if marker == EOI:
            yield marker, start, start
            return
        at = start + max(2, int.from_bytes(content[start : start + 2], "big"))
        yield marker, start + 2, at
    yield EOI, len(content), len(content)
