"""Hole windows: the parts of a photograph that are synthesised, each on its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from neuralpatch_cuda.synthesis.boxes import Box, bounding_box
from neuralpatch_cuda.synthesis.memory import MOST_PIXELS

Labels: TypeAlias = npt.NDArray[Any]
"""Numbers of holes, or where there are some, `[H, W]`."""

MINIMUM_MARGIN = 64
"""Least context in pixels around a hole, so that even a speck has patches to copy from."""

STRIP = 128
"""Pixels; strips are cut into pieces no longer or wider than this, so that a window has little else in it."""

STRIP_MARGIN = 32
"""Pixels around strips, which need patches that are near rather than many."""


def grow(box: Box, context: float, height: int, width: int) -> Box:
    """Grow a hole's box by `context` times its longer side, at least `MINIMUM_MARGIN`, on each side.

    A window that would stick out of the photograph is moved inside, and cut only where the photograph is too small.
    """
    return grow_by(max(MINIMUM_MARGIN, round(context * max(box.height, box.width))), box, height, width)


def grow_by(margin: int, box: Box, height: int, width: int) -> Box:
    """The same by so many pixels on each side."""

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
    """The holes' pixels, bool in the shape of the box. Others may reach into the window."""


def find_windows(mask: Tensor, context: float) -> list[Window]:
    """Give every connected hole of a bool mask `[H, W]` to one window, so that little of the photograph is computed.

    Neighbours share a window where that is no larger than theirs together. So thousands of specks all over a scan are
    filled at once, and two in its corners each on their own.

    Returns:
        The windows from top to bottom and from left to right.
    """
    height, width = mask.shape
    return _windows(
        mask, lambda pixels: ndimage.label(pixels, np.ones((3, 3))), lambda box: grow(box, context, height, width)
    )


def find_strip_windows(mask: Tensor) -> list[Window]:
    """The same for strips, which may be long: each piece of `STRIP` px is given to a window.

    Windows stay so small that their features are computed at once.
    """
    height, width = mask.shape
    return _windows(mask, _pieces, lambda box: grow_by(STRIP_MARGIN, box, height, width), MOST_PIXELS)


def _windows(
    mask: Tensor, label: Callable[[Labels], tuple[Labels, int]], around: Callable[[Box], Box], most: float = math.inf
) -> list[Window]:
    """Windows for holes that are numbered from 1 by `label`; those that are shared have at most so many pixels."""
    if not mask.any():
        return []
    whole = bounding_box(mask)
    rows, columns = whole.slices
    labels, count = label(mask[rows, columns].numpy(force=True))
    top, left = whole.top, whole.left
    boxes = [Box(top + r.start, left + c.start, top + r.stop, left + c.stop) for r, c in ndimage.find_objects(labels)]
    groups = [(group, around(group.box)) for group in share_out(boxes, around, most)]
    windows = []
    for group, window in sorted(groups, key=lambda pair: (pair[1].top, pair[1].left)):
        chosen = np.zeros(count + 1, np.bool_)
        chosen[[1 + number for number in group.holes]] = True
        part = window.intersection(whole)
        own = torch.zeros(window.height, window.width, dtype=torch.bool, device="cpu")
        own[part.inside(window)] = torch.from_numpy(chosen[labels[part.inside(whole)]])
        windows.append(Window(window, own.to(mask.device)))
    return windows


def _pieces(holes: Labels) -> tuple[Labels, int]:
    """Number the holes' parts in the squares of a grid of `STRIP` px from 1; and how many there are."""
    height, width = holes.shape
    squares = np.arange(height)[:, None] // STRIP * (width // STRIP + 1) + np.arange(width) // STRIP
    used, numbers = np.unique(squares[holes], return_inverse=True)
    labels = np.zeros(holes.shape, np.intp)
    labels[holes] = 1 + numbers
    return labels, len(used)


@dataclass(frozen=True)
class Group:
    """Holes that share a window, by their numbers, and the box around them."""

    holes: list[int]
    box: Box


def share_out(boxes: Sequence[Box], around: Callable[[Box], Box], most: float = math.inf) -> list[Group]:
    """Divide holes into groups whose windows have the least area, by halving them again and again.

    Holes are split between those whose centres lie left and right, or above and below, of the median; a split that
    saves nothing is undone, unless the window would have more than so many pixels.

    Args:
        boxes: of the holes.
        around: from the box of some holes to their window.
        most: pixels of a window that is shared.
    """

    def area(box: Box) -> int:
        window = around(box)
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
        if together <= min(first_area + second_area, most):
            return [Group(holes, box)], together
        return first + second, first_area + second_area

    return divide(list(range(len(boxes))))[0] if boxes else []
