"""Data of other programs in image files: whether they show the picture, and how they are named to a user."""

from __future__ import annotations

import re

PICTURE = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]|\x89PNG\r\n\x1a\n")
"""How pictures begin."""
MOTION = re.compile(rb"ftyp(?:mp4|iso|qt|avc|M4V|3g)")
"""How videos begin."""

C2PA = "signed statement of origin (C2PA)"
GAIN_MAP = "gain map"
DEPTH_MAP = "depth map"
VIDEO = "video (motion photo)"
DAMAGED_PROFILE = "damaged ICC profile"


def holds_picture(data: bytes) -> bool:
    """Whether there is a picture in some data, which would show what is taken out."""
    return PICTURE.search(data) is not None


def after_end(rest: bytes) -> str | None:
    """What follows the end of a picture in its file, in words; None if it is nothing but padding."""
    if MOTION.search(rest):
        return VIDEO
    return "data after its end" if rest.strip(b"\0 \r\n\xff") else None


def printable(name: bytes) -> str:
    """The name of some data, of which a terminal shows what is text."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:79].decode("latin-1"))
