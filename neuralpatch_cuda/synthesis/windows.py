"""Hole windows: the parts of a photograph that are synthesised, each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from neuralpatch_cuda.synthesis.boxes import Box, bounding_box

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


@dataclass(frozen=True)
class Window:
    """A part of a photograph, and the holes that are filled in it."""

    box: Box
    own: Tensor
    """The holes' pixels, bool in the shape of the box; each hole is whole. Others may reach into the window."""


def find_windows(mask: Tensor, context: float) -> list[Window]:
    """Give every connected hole of a bool mask `[H, W]` to one window, so that little of the photograph is computed.

    Neighbours share a window where that is no larger than theirs together. So thousands of scratches all over a
    scan are filled at once, and two specks in its corners each on their own.

    Returns:
        The windows from top to bottom and from left to right.
    """
    if not mask.any():
        return []
    height, width = mask.shape
    around = bounding_box(mask)
    rows, columns = around.slices
    labels, count = ndimage.label(mask[rows, columns].numpy(force=True), np.ones((3, 3)))
    top, left = around.top, around.left
    found = ndimage.find_objects(labels)
    boxes = [Box(top + r.start, left + c.start, top + r.stop, left + c.stop) for r, c in found]
    groups = [(group, grow(group.box, context, height, width)) for group in share_out(boxes, context, height, width)]
    windows = []
    for group, window in sorted(groups, key=lambda pair: (pair[1].top, pair[1].left)):
        chosen = np.zeros(count + 1, np.bool_)
        chosen[[1 + number for number in group.holes]] = True
        part = window.intersection(around)
        own = torch.zeros(window.height, window.width, dtype=torch.bool, device="cpu")
        own[part.inside(window)] = torch.from_numpy(chosen[labels[part.inside(around)]])
        windows.append(Window(window, own.to(mask.device)))
    return windows


@dataclass(frozen=True)
class Group:
    """Holes that share a window, by their numbers, and the box around them."""

    holes: list[int]
    box: Box


def share_out(boxes: Sequence[Box], context: float, height: int, width: int) -> list[Group]:
    """Divide holes into groups whose windows have the least area, by halving them again and again.

    Holes are split between those whose centres lie left and right, or above and below, of the median; a split that
    saves nothing is undone.
    """

    def area(box: Box) -> int:
        window = grow(box, context, height, width)
        return window.height * window.width

    def divide(holes: list[int]) -> tuple[list[Group], int]:
        box = reduce(Box.union, (boxes[hole] for hole in holes))
        together = area(box)
        if len(holes) == 1:
            return [Group(holes, box)], together
        if box.height > box.width:
            holes = sorted(holes, key=lambda hole: (boxes[hole].top + boxes[hole].bottom, hole))
        else:
            holes = sorted(holes, key=lambda hole: (boxes[hole].left + boxes[hole].right, hole))
        middle = len(holes) // 2
        (first, first_area), (second, second_area) = divide(holes[:middle]), divide(holes[middle:])
        if together <= first_area + second_area:
            return [Group(holes, box)], together
        return first + second, first_area + second_area

    return divide(list(range(len(boxes))))[0] if boxes else []
