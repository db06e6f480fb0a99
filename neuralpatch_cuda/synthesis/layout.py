"""Which patches of a layer belong to the hole, and which they may be matched with.

A layer's feature map is a grid of cells of `stride` pixels; a cell belongs to the hole when any of its pixels does.
Queries are the patches that touch a hole cell, keys those that touch none. The support is the box of the cells that
queries cover.
"""

from __future__ import annotations

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


@dataclass
class Layout:
    """The geometry of one layer."""

    size: int
    """Side of the patches in cells."""
    support: Box
    query_position: Tensor
    """Which patch positions of the support touch the hole, as numbers, int64 `[Nq]`."""
    key_mask: Tensor
    """Which patch positions of the window are free of the hole, bool."""

    def __post_init__(self) -> None:
        columns = self.support.width - self.size + 1
        self._row = self.support.top + self.query_position // columns
        self._column = self.support.left + self.query_position % columns

    def spread(self, index: Tensor) -> Tensor:
        """The queries' matches at their places in the window: int64 in the shape of `key_mask`, -1 elsewhere."""
        field = torch.full_like(self.key_mask, -1, dtype=torch.int64)
        field[self._row, self._column] = index
        return field

    def gather(self, field: Tensor) -> tuple[Tensor, Tensor]:
        """Take over matches that `spread` gave at another scale: as far away as they were there, in proportion.

        Returns:
            index: int64 `[Nq]`, in the window.
            found: bool `[Nq]`, where there was a match and the patch is free of the hole here.
        """
        (height, width), (rows, columns) = field.shape, self.key_mask.shape
        row = (2 * self._row + 1) * height // (2 * rows)
        column = (2 * self._column + 1) * width // (2 * columns)
        match = field[row, column]
        down = (match // width - row) * rows / height
        right = (match % width - column) * columns / width
        y = (self._row + down.round().long()).clamp(0, rows - 1)
        x = (self._column + right.round().long()).clamp(0, columns - 1)
        return y * columns + x, (match >= 0) & self.key_mask[y, x]


def lay_out(mask: Tensor, stride: int, size: int) -> Layout | None:
    """A layer's geometry for the hole `[H, W]`; None where no patch is free of the hole, or none touches it."""
    cells = F.max_pool2d(mask[None].float(), stride)[0] > 0
    touched = dilate_cells(cells, size)
    if not touched.any() or touched.all():
        return None
    hole = bounding_box(cells)
    support = hole.grown(size - 1).intersection(Box(0, 0, *cells.shape))
    rows, columns = support.slices
    return Layout(size, support, dilate_cells(cells[rows, columns], size).flatten().nonzero()[:, 0], ~touched)
