"""Which patches of a layer belong to the hole, and which they may be matched with.

A layer's feature map is a grid of cells of `stride` pixels; a cell belongs to the hole when any of its pixels does.
Queries are the patches that touch a hole cell, keys those of usable pixels alone, in the window and in exemplars. The
support is the box of the cells that queries cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from neuralpatch_cuda.synthesis.boxes import Box, bounding_box


def dilate_cells(cells: Tensor, size: int) -> Tensor:
    """For a bool grid `[h, w]`: True at each position of a `size` x `size` patch that touches a True cell."""
    if min(cells.shape) < size:
        return cells.new_zeros([max(0, n - size + 1) for n in cells.shape])
    return F.max_pool2d(cells[None].float(), size, stride=1)[0] > 0


@dataclass(frozen=True)
class Matches:
    """Where the patches of one scale found theirs."""

    field: Tensor
    """At each patch position of the window, the number of its match among all maps', or -1; int64 `[h, w]`."""
    shapes: list[tuple[int, int]]
    """Of the grids of patch positions: the window's, then each exemplar's."""


@dataclass
class Layout:
    """The geometry of one layer."""

    size: int
    """Side of the patches in cells."""
    support: Box
    query_position: Tensor
    """Which patch positions of the support touch the hole, as numbers, int64 `[Nq]`."""
    key_masks: list[Tensor]
    """Which patch positions of the window, and of each exemplar, may be matched; bool."""

    def __post_init__(self) -> None:
        columns = self.support.width - self.size + 1
        self._row = self.support.top + self.query_position // columns
        self._column = self.support.left + self.query_position % columns

    def spread(self, index: Tensor) -> Matches:
        """The queries' matches at their places in the window."""
        field = torch.full_like(self.key_masks[0], -1, dtype=torch.int64)
        field[self._row, self._column] = index
        return Matches(field, [(mask.shape[0], mask.shape[1]) for mask in self.key_masks])

    def gather(self, matches: Matches) -> tuple[Tensor, Tensor]:
        """Take over the matches of another scale: as far away as they were there, in proportion.

        Returns:
            Two tensors.

            - index: int64 `[Nq]`.
            - found: bool `[Nq]`, where there was a match that may be matched here, too.
        """
        (height, width), (rows, columns) = matches.shapes[0], self.key_masks[0].shape
        row = (2 * self._row + 1) * height // (2 * rows)
        column = (2 * self._column + 1) * width // (2 * columns)
        match = matches.field[row, column]
        index, found = torch.zeros_like(match), torch.zeros_like(match, dtype=torch.bool)
        before = above = 0
        for (height, width), mask in zip(matches.shapes, self.key_masks, strict=True):
            rows, columns = mask.shape
            local = match - before
            here = (local >= 0) & (local < height * width)
            down = ((local // width - row) * rows).float() / height
            right = ((local % width - column) * columns).float() / width
            y = (self._row + down.round().long()).clamp(0, rows - 1)
            x = (self._column + right.round().long()).clamp(0, columns - 1)
            index = torch.where(here, above + y * columns + x, index)
            found |= here & mask[y, x]
            before, above = before + height * width, above + mask.numel()
        return index, found


def lay_out(mask: Tensor, stride: int, size: int, usable: Tensor, exemplars: Sequence[Tensor] = ()) -> Layout | None:
    """A layer's geometry; None where no patch touches the hole, or none may be matched.

    Args:
        mask: the hole, bool `[H, W]`.
        stride: pixels per cell.
        size: side of a patch in cells.
        usable: pixels of the window that patches may be taken from, bool `[H, W]`; those of the hole are not.
        exemplars: the same of each exemplar, at least a patch wide and high.
    """
    if min(mask.shape) < stride * size:
        return None
    cells = to_cells(mask, stride)
    if not dilate_cells(cells, size).any():
        return None
    key_masks = [~dilate_cells(to_cells(~each, stride), size) for each in (usable & ~mask, *exemplars)]
    if not any(key_mask.any() for key_mask in key_masks):
        return None
    support = bounding_box(cells).grown(size - 1).intersection(Box(0, 0, *cells.shape))
    rows, columns = support.slices
    return Layout(size, support, dilate_cells(cells[rows, columns], size).flatten().nonzero()[:, 0], key_masks)


def to_cells(pixels: Tensor, stride: int) -> Tensor:
    """Cells with a True pixel: bool `[H // stride, W // stride]` from `[H, W]`."""
    return F.max_pool2d(pixels[None].float(), stride)[0] > 0
