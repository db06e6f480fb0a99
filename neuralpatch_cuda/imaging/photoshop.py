"""Photoshop's image resources, which hold IPTC data, paths and more; in JPEG, TIFF and PNG files alike."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from neuralpatch_cuda.imaging.embedded import holds_picture

IPTC = 1028
COVERED = {1033, 1036, 1039, 1058, 1059, 1060}
"""Previews, as they show what is taken out; and what is read from elsewhere: ICC profile, EXIF and XMP data."""


def cleaned(data: bytes) -> tuple[bytes, list[str]]:
    """Resources without what is read from elsewhere and what shows the picture; and in words what else is left out."""
    parts, left_out, end = [], [], 0
    for number, whole, content in _parse(data):
        end += len(whole)
        if holds_picture(content) and number not in COVERED:
            left_out.append(f"Photoshop resource {number}")
        elif number not in COVERED:
            parts.append(whole)
    if data[end:].strip(b"\0") or (data and end == 0):
        left_out.append("damaged Photoshop resources")
    return b"".join(parts), left_out


def iptc_of(data: bytes) -> bytes:
    """The IPTC data among resources; empty if there are none."""
    return next((content for number, _, content in _parse(data) if number == IPTC), b"")


def without_iptc(data: bytes) -> bytes:
    """The other resources."""
    return b"".join(whole for number, whole, _ in _parse(data) if number != IPTC)


def build(number: int, content: bytes) -> bytes:
    """A resource."""
    return b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + content + bytes(len(content) % 2)


def _parse(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, whole and content of each resource, as far as they are sound."""
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 7 <= len(data):
        head = at + 6 + (data[at + 6] + 2) // 2 * 2 + 4  # a name, which with its length is even, and the size
        size = int.from_bytes(data[head - 4 : head], "big")
        content = data[head : head + size]
        if head > len(data) or len(content) < size:
            break
        end = head + (size + 1) // 2 * 2
        yield int.from_bytes(data[at + 4 : at + 6], "big"), data[at:end], content
        at = end
