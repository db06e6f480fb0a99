"""Another way of laying patches out as rows, with the arguments and result of `ops.extract_patches`."""

from __future__ import annotations

from torch import Tensor


def strided_copy(features: Tensor, size: int, stride: int = 1) -> Tensor:
    """A view of overlapping windows, copied once into rows."""
    windows = features.unfold(2, size, stride).unfold(3, size, stride)  # [B, C, rows, columns, size, size]
    batch, channels, rows, columns = windows.shape[:4]
    return windows.permute(0, 2, 3, 1, 4, 5).reshape(batch, rows * columns, channels * size * size)
