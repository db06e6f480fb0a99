"""What a scale takes of the memory, and whether its features must be computed in tiles for it."""

from __future__ import annotations

import logging
import math

import psutil
import torch

from neuralpatch_cuda.networks.texture import CHANNELS, STRIDE, TextureNetwork
from neuralpatch_cuda.synthesis.optimiser import HISTORY

# Numbers in the network's format per pixel, measured with VGG-16 up to relu4_1 on the CPU.
WINDOW_VALUES = 170
"""Of the window, while its features are computed at once."""
BOX_VALUES = 820
"""Of the box that changes: what `LocalFeatures` keeps, and an iteration."""
MAP_VALUES = 150
"""Of the box: what `TiledFeatures` keeps, gradients between its parts, and the targets."""
TILE_VALUES = 500
"""Of a tile of `TiledFeatures`."""

# Bytes per pixel, whatever the format.
PICTURE_BYTES = 60
"""Of the window: the photograph and the states of the filling, of 12 bytes each."""
STATE_BYTES = 24 * HISTORY + 120
"""Of the box: what the optimiser remembers, and some vectors of 12 bytes."""

LEAST_SIDE, MOST_SIDE = 128, 384
"""Of a tile in pixels, whatever the budget. Below, most of the time goes into what tiles share; beyond, into fresh
memory."""

MOST_PIXELS = 2**19
"""Of a box on the CPU without tiles, which are hardly slower beyond: the activations have long left the caches."""

logger = logging.getLogger(__name__)

FREE_SHARE = 0.5
"""Of the free memory, which is used where no budget is given."""


def free_bytes(device: torch.device) -> int:
    """The memory that the device has left."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def default_budget(device: torch.device) -> int:
    """Bytes that a scale may take where the user does not say."""
    return round(FREE_SHARE * free_bytes(device))


def tile_side(
    network: TextureNetwork, window_pixels: int, box_pixels: int, budget: int, device: torch.device
) -> int | None:
    """Side in pixels of the tiles that keep a scale within the budget; None where none are needed.

    Args:
        network: gives the features.
        window_pixels: number of pixels of the window.
        box_pixels: of the box that changes.
        budget: bytes.
        device: where the features are.
    """
    known = sum(CHANNELS[layer] / STRIDE[layer] ** 2 for layer in network.layers) * window_pixels
    itemsize = network.convolution(network.depth[0]).weight.element_size()
    values = (budget - PICTURE_BYTES * window_pixels - STATE_BYTES * box_pixels) / itemsize - known
    fits = max(WINDOW_VALUES * window_pixels, BOX_VALUES * box_pixels) <= values
    if fits and (device.type == "cuda" or box_pixels <= MOST_PIXELS):
        return None
    left = values - MAP_VALUES * box_pixels - TILE_VALUES * LEAST_SIDE**2
    if left < 0:
        needed = (budget - left * itemsize) / 1e6
        logger.warning("This window takes about %.0f MB, more than the memory budget, in its smallest tiles.", needed)
    side = math.isqrt(max(0, round(left / TILE_VALUES)) + LEAST_SIDE**2)
    return min(side, MOST_SIDE)
