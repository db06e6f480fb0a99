"""Holes to measure with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def centred_hole(height: int, width: int, side: int) -> npt.NDArray[Any]:
    """A mask, bool `[height, width]`, with a square hole in its middle."""
    mask = np.zeros((height, width), np.bool_)
    top, left = (height - side) // 2, (width - side) // 2
    mask[top : top + side, left : left + side] = True
    return mask
