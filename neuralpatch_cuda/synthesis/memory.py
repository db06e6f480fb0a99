"""What a scale's features may take of the memory, and whether they must be computed in tiles for it."""

from __future__ import annotations

import math

import psutil
import torch

from neuralpatch_cuda.networks.texture import TextureNetwork
from neuralpatch_cuda.synthesis.tiles import margin

# Numbers in the network's format per pixel, measured with VGG-16 up to relu4_1 on the CPU.
WINDOW_VALUES = 170
"""Of the window, while its features are computed at once."""
BOX_VALUES = 820
"""Of the box that changes: what `LocalFeatures` keeps, and an iteration."""
TILE_VALUES = 820
"""Of a tile with its margin, in an iteration of `TiledFeatures`."""

LEAST_SIDE = 128
"""Of a tile in pixels, whatever the budget: below it, nearly all of the time goes into margins."""

FREE_SHARE = 0.5
"""Of the free memory, which is used where no budget is given."""


def free_bytes(device: torch.device) -> int:
    """The memory that the device has left."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def tile_side(
    network: TextureNetwork, window_pixels: int, box_pixels: int, budget: int | None, device: torch.device
) -> int | None:
    """Side in pixels of the tiles that keep the features of a scale within the budget; None where none are needed.

    Args:
        network: gives the features.
        window_pixels: number of pixels of the window.
        box_pixels: of the box that changes.
        budget: bytes; None for a share of what is free.
        device: where the features are.
    """
    if budget is None:
        budget = round(FREE_SHARE * free_bytes(device))
    values = budget // network.convolution(network.depth[0]).weight.element_size()
    if max(WINDOW_VALUES * window_pixels, BOX_VALUES * box_pixels) <= values:
        return None
    return max(LEAST_SIDE, math.isqrt(values // TILE_VALUES) - 2 * margin(network))
