"""The pyramid of scales, and how photographs and holes are brought from one to the next."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from neuralpatch_cuda.networks.content import CONTENT_SIDE

LEAST_STEP = 2**0.5
"""Least ratio between the last two scales; a smaller last step would cost a scale and add nothing."""

THIN = 8
"""Pixels, a cell of relu4_1; what lies around a thinner hole says more than any synthesis at a coarse scale."""


def scale_sizes(
    height: int, width: int, limit: int | None = None, coarsest: int = CONTENT_SIDE
) -> list[tuple[int, int]]:
    """Sizes of the scales, coarsest first: short side 128, 256, 512, ... and last `(height, width)` itself.

    `limit` keeps that many of the finest; `coarsest` is the short side to start from.
    """
    short = min(height, width)
    sizes = []
    side = coarsest
    while side * LEAST_STEP <= short:
        sizes.append((round(height * side / short), round(width * side / short)))
        side *= 2
    sizes.append((height, width))
    return sizes[-limit:] if limit else sizes


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample `[C, H, W]` to `[C, *size]`: bicubic when it grows, antialiased (triangle filter) when it shrinks."""
    if image.shape[-2:] == size:
        return image
    shrinks = size[0] < image.shape[-2] or size[1] < image.shape[-1]
    mode = "bilinear" if shrinks else "bicubic"
    return F.interpolate(image[None], size, mode=mode, align_corners=False, antialias=shrinks)[0]


def shrink(image: Tensor, mask: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Bring a photograph `[3, H, W]` and its hole (bool `[H, W]`) to a coarser scale.

    Only known pixels enter the average, so that nothing of what is to be removed bleeds into the surroundings; a
    pixel of the coarse scale is a hole where more than half of its weight was unknown.
    """
    if image.shape[-2:] == size:
        return image, mask
    known = (~mask).to(image.dtype)[None]
    share = resize(known, size)
    colour = resize(image * known, size) / share.clamp(min=1e-6)
    hole = share[0] < 0.5
    return torch.where(hole, colour.new_zeros(()), colour), hole


def is_thin(hole: Tensor) -> bool:
    """Whether no square of `THIN` pixels a side fits into a bool mask `[H, W]`, as into scratches and wires."""
    side = min(THIN, *hole.shape)
    square = hole
    for _ in range(2):  # the first pixels of runs of so many, down and across
        length = 1
        while length < side:
            step = min(length, side - length)
            square = square[step:] & square[:-step]
            length += step
        square = square.T
    return not square.any()
