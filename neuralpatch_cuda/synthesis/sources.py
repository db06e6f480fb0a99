"""Where patches may be taken from: the window, or a part of it, and exemplars: other images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from neuralpatch_cuda.synthesis.boxes import Box, bounding_box
from neuralpatch_cuda.synthesis.exemplar import smooth_fill
from neuralpatch_cuda.synthesis.pyramid import resize


class Exemplar(NamedTuple):
    """An image besides the window that patches may be taken from."""

    image: Tensor
    """`[3, H, W]`, float32 in [0, 1]."""
    usable: Tensor
    """Bool `[H, W]`: patches lie in it whole."""

    @classmethod
    def whole(cls, image: Tensor) -> Exemplar:
        """All of an image."""
        return cls(image, torch.ones_like(image[0], dtype=torch.bool))

    def to(self, device: torch.device) -> Exemplar:
        return Exemplar(self.image.to(device), self.usable.to(device))

    def at(self, ratio: float, least: int) -> Exemplar:
        """Made smaller by a factor of at most 1, with sides of at least so many pixels."""
        height, width = (max(least, round(side * ratio)) for side in self.usable.shape)
        return Exemplar(resize(self.image, (height, width)), resize_region(self.usable, (height, width)))


@dataclass(frozen=True)
class Sources:
    """All that patches may be taken from."""

    usable: Tensor
    """Pixels of the window, bool `[H, W]`; its hole's are left out later."""
    exemplars: tuple[Exemplar, ...] = ()

    def to(self, device: torch.device) -> Sources:
        return Sources(self.usable.to(device), tuple(exemplar.to(device) for exemplar in self.exemplars))

    def at(self, size: tuple[int, int], least: int) -> Sources:
        """For a scale whose window has this height and width; exemplars have sides of at least `least` pixels."""
        ratio = min(size) / min(self.usable.shape)
        exemplars = tuple(exemplar.at(ratio, least) for exemplar in self.exemplars)
        return Sources(resize_region(self.usable, size), exemplars)


def resize_region(region: Tensor, size: tuple[int, int]) -> Tensor:
    """A bool `[H, W]` at another size: True where at least half of a pixel's weight is."""
    return resize(region.float()[None], size)[0] >= 0.5


def sources_of(
    read: Callable[[Box], Tensor],
    unknown: Tensor,
    doubtful: Tensor,
    window: Box,
    region: Tensor | None,
    exemplars: tuple[Exemplar, ...],
) -> Sources:
    """What a window may take patches from.

    Args:
        read: gives the photograph's pixels in a box, `[3, h, w]`.
        unknown: its holes, bool `[H, W]`.
        doubtful: pixels that were interpolated and are too smooth to copy, bool `[H, W]`.
        window: the part that is filled now.
        region: the part that patches may be taken from, bool `[H, W]`; None for the window. Where it reaches beyond
            the window, it becomes an exemplar.
        exemplars: other images.
    """
    rows, columns = window.slices
    sharp = ~doubtful[rows, columns]
    if region is None:
        return Sources(sharp, exemplars)
    box = bounding_box(region)
    if not window.contains(box):
        down, across = box.slices
        hidden = unknown[down, across]
        usable = region[down, across] & ~hidden & ~doubtful[down, across]
        exemplars = (Exemplar(smooth_fill(read(box), hidden), usable), *exemplars)
    return Sources(region[rows, columns] & sharp, exemplars)
