"""What the values of a mask tell: labels lie in flat regions, and the values of a soft or a lossy edge do not.

Only a sample of the pixels is looked at closely, spread evenly, so that large masks take little time.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from neuralpatch_cuda.imaging.images import Array

SAMPLE = 2**16
"""Pixels that are looked at closely."""

EDGE_WIDTH = 3.0
"""Dark pixels for each pixel of the border of what is marked, beyond which they are more than its edge. Antialiased
edges have about 0.5, JPEG masks of quality 20 about 1.5, and 3 if their colours are subsampled."""

BLOCK = 8
"""Side in pixels of a block of a JPEG file, beyond which an edge leaves no clear trace."""

FEW_BLOCKS = 2
"""What is left of strokes that end at the image's border may be faint in so many blocks."""

FEW_LEVELS = 16
"""Paint has no more values; a slope or a photograph has."""


def sample(where: Array) -> tuple[Array, Array]:
    """Rows and columns of some of the pixels of a bool array `[H, W]` that are True, spread evenly."""
    found = np.flatnonzero(where)
    rows, columns = np.unravel_index(found[:: len(found) // SAMPLE + 1], where.shape)
    return rows, columns


def is_soft(values: Array) -> bool:
    """Whether values `[H, W]` between 0 and the highest are those of soft edges, noise or slopes, not labels."""
    high = values.max()
    between = (values != 0) & (values != high)
    middle = between & (values > high / 16) & (values < high / 16 * 15)  # without what a JPEG file makes of 0 and 255
    return any(_raggedness(values, where) > 0.5 for where in (between, middle))


def is_unclear(values: Array, marked: Array, top: float) -> bool:
    """Whether flat parts are left out, or more lies between black and full brightness than the edges of what is marked.

    Args:
        values: `[H, W]`, from 0 to `top`.
        marked: bool `[H, W]`: which of them are at least half of `top`.
        top: end of the range.
    """
    rest = values[~marked]
    ground = np.quantile(rest[:: len(rest) // SAMPLE + 1], 0.1, method="lower") if len(rest) else 0
    dark = values <= ground + top / 16
    faint = ~(marked | dark)
    if _flatness(values, faint) > 0 or _flatness(values, ~marked & (values > ground)) > 0.4:
        return True
    border = sum(int(np.count_nonzero(np.diff(marked, axis=axis))) for axis in (0, 1))
    if np.count_nonzero(faint) > EDGE_WIDTH * border:
        return True
    lost = _in_blocks(faint) & ~_near_blocks(marked)
    if np.count_nonzero(lost) > FEW_BLOCKS:
        return True
    rows, columns = sample(~_near_blocks(dark))
    inside = np.unique(values[rows * BLOCK, columns * BLOCK])
    return int((inside < top / 16 * 15).sum()) > FEW_LEVELS


def _raggedness(values: Array, where: Array) -> float:
    """The share of pixels beside another value that is not 0, and in no flat square of 3 x 3 px."""
    rows, columns = sample(where)
    if not len(rows) or len(np.unique(values[rows, columns])) < 2:
        return 0.0
    around = _around(values, rows, columns, 2)
    own = around[:, 2:3, 2:3]
    beside = around[:, [1, 2, 2, 3], [2, 1, 3, 2]]
    same = around == own
    flat = np.any([same[:, y : y + 3, x : x + 3].all((1, 2)) for y in range(3) for x in range(3)], axis=0)
    touching = ((beside != 0) & (beside != own[:, 0])).any(1)
    return float((touching & ~flat).mean())


def _flatness(values: Array, where: Array) -> float:
    """The share of pixels of which all eight neighbours have the same value."""
    rows, columns = sample(where)
    if not len(rows):
        return 0.0
    around = _around(values, rows, columns, 1)
    return float((around == around[:, 1:2, 1:2]).all((1, 2)).mean())


def _around(values: Array, rows: Array, columns: Array, reach: int) -> Array:
    """The squares around some pixels, `[N, 2 * reach + 1, 2 * reach + 1]`; the outermost pixels go on outside."""
    steps = np.arange(-reach, reach + 1)
    y = np.clip(rows[:, None, None] + steps[:, None], 0, values.shape[0] - 1)
    x = np.clip(columns[:, None, None] + steps, 0, values.shape[1] - 1)
    squares: Array = values[y, x]
    return squares


def _near_blocks(where: Array) -> Array:
    """Which blocks have a True pixel, or are beside one that has."""
    near: Array = ndimage.binary_dilation(_in_blocks(where), np.ones((3, 3)))
    return near


def _in_blocks(where: Array) -> Array:
    """Which blocks of `BLOCK` x `BLOCK` px have a True pixel."""
    for axis in (0, 1):
        where = np.logical_or.reduceat(where, np.arange(0, where.shape[axis], BLOCK), axis)
    return where
