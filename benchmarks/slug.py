"""Names of results' folders."""

from __future__ import annotations

import re


def slug(name: str) -> str:
    """A device's name as a folder's: "NVIDIA H100 80GB HBM3" -> "nvidia-h100-80gb-hbm3"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
