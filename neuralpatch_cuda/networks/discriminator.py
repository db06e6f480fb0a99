"""The discriminator: tells photographs from photographs with a filled hole, patch by patch."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 8
"""Pixels between the centres of two judged patches."""

PATCH = 38
"""Side in pixels of a judged patch."""


class Judgement(NamedTuple):
    """What the discriminator makes of an image."""

    logits: Tensor
    """`[B, 1, H / 8, W / 8]`: positive where a patch looks like a photograph's own."""
    features: list[Tensor]
    """Activations of the layers below, shallowest first, for feature matching."""


class PatchDiscriminator(nn.Module):
    """A patch discriminator (Isola et al., 2017), conditioned on the mask.

    The authors' judges the 64 px square alone. This one sees the filled hole together with what is around it, for any
    mask, and its verdict counts only where a patch is centred in the hole. It has no normalisation: what keeps it in
    bounds is the penalty on its gradient, see `losses.gradient_penalty`.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        channels = (4, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1, dtype=torch.float32) for a, b in pairwise(channels)
        )
        self.layers.append(nn.Conv2d(4 * width, 4 * width, 3, padding=1, dtype=torch.float32))
        self.head = nn.Conv2d(4 * width, 1, 1, dtype=torch.float32)

    def forward(self, image: Tensor, mask: Tensor) -> Judgement:
        """Judge an image.

        Args:
            image: `[B, 3, H, W]`, RGB in [0, 1], with its hole filled; H and W multiples of 8.
            mask: `[B, 1, H, W]`, same dtype, 1 inside the hole.
        """
        x = torch.cat([2 * image - 1, mask], 1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return Judgement(self.head(x), features)


def judged(mask: Tensor) -> Tensor:
    """Share of the hole in the `STRIDE` px cell at each judged patch's centre: `[B, 1, H / 8, W / 8]`."""
    return F.avg_pool2d(mask, STRIDE)
