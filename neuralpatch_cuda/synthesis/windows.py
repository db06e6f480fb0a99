"""Hole windows: the parts of a photograph that are synthesised, each on its own."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from torch import Tensor

from neuralpatch_cuda.synthesis.boxes import Box

MINIMUM_MARGIN = 64
"""Least context in pixels around a hole, so that even a speck has patches to copy from."""


def grow(box: Box, context: float, height: int, width: int) -> Box:
    """Grow a hole's box by `context` times its longer side, at least `MINIMUM_MARGIN`, on each side.

    A window that would stick out of the photograph is moved inside, and cut only where the photograph is too small.
    """
    margin = max(MINIMUM_MARGIN, round(context * max(box.height, box.width)))

    def fit(start: int, stop: int, extent: int) -> tuple[int, int]:
        size = min(stop - start + 2 * margin, extent)
        begin = min(max(start - margin, 0), extent - size)
        return begin, begin + size

    top, bottom = fit(box.top, box.bottom, height)
    left, right = fit(box.left, box.right, width)
    return Box(top, left, bottom, right)


def find_windows(mask: Tensor, context: float) -> list[Box]:
    """Cover all holes of a bool mask `[H, W]` with windows, each holding its holes whole and no part of another's.

    Connected holes get a window each; those that reach into one another's window share one.
    """
    height, width = mask.shape
    labels, _ = ndimage.label(mask.cpu().numpy(), np.ones((3, 3)))
    holes = [Box(r.start, c.start, r.stop, c.stop) for r, c in ndimage.find_objects(labels)]
    done: list[tuple[Box, Box]] = []  # holes' box, window
    while holes:
        hole = holes.pop()
        window = grow(hole, context, height, width)
        touching = [d for d in done if d[1].intersects(hole) or window.intersects(d[0])]
        if touching:
            done = [d for d in done if d not in touching]
            for other, _ in touching:
                hole = hole.union(other)
            holes.append(hole)  # a larger hole has a larger window: look again
        else:
            done.append((hole, window))
    return sorted((window for _, window in done), key=lambda w: (w.top, w.left))
