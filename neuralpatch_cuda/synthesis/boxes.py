"""Rectangles of pixels, or of a feature map's cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """Rows `top` to `bottom` and columns `left` to `right`, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def empty(self) -> bool:
        return self.height <= 0 or self.width <= 0

    def grown(self, margin: int) -> Box:
        """With `margin` more on each side."""
        return Box(self.top - margin, self.left - margin, self.bottom + margin, self.right + margin)

    def union(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def intersection(self, other: Box) -> Box:
        """What both cover; it must not be empty."""
        return Box(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def intersects(self, other: Box) -> bool:
        return (
            self.top < other.bottom and other.top < self.bottom and self.left < other.right and other.left < self.right
        )

    def contains(self, other: Box) -> bool:
        return self.union(other) == self

    def coarser(self, factor: int) -> Box:
        """The cells of `factor` x `factor` that it touches."""
        return Box(self.top // factor, self.left // factor, -(-self.bottom // factor), -(-self.right // factor))

    def shrunk(self, factor: int) -> Box:
        """The cells of `factor` x `factor` that lie inside whole; its top left corner must be one of theirs."""
        return Box(self.top // factor, self.left // factor, self.bottom // factor, self.right // factor)

    def finer(self, factor: int) -> Box:
        """Its cells, each split into `factor` x `factor`."""
        return Box(self.top * factor, self.left * factor, self.bottom * factor, self.right * factor)

    def inside(self, outer: Box) -> tuple[slice, slice]:
        """Where it lies in an array that covers `outer`."""
        rows, columns = (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )
        return rows, columns


def bounding_box(mask: Tensor) -> Box:
    """The smallest box around the True pixels of a bool `[H, W]` mask with at least one of them."""
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def refit(x: Tensor, covered: Box, wanted: Box) -> Tensor:
    """Cut `x [..., h, w]`, which covers one box, to another; zeros where it has nothing."""
    if covered == wanted:
        return x
    if covered.contains(wanted):
        rows, columns = wanted.inside(covered)
        return x[..., rows, columns]
    return F.pad(
        x,
        (
            covered.left - wanted.left,
            wanted.right - covered.right,
            covered.top - wanted.top,
            wanted.bottom - covered.bottom,
        ),
    )
