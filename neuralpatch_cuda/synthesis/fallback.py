"""What is matched where a hole leaves no known patch of the usual size: earlier layers, and then smaller patches."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from neuralpatch_cuda.networks.texture import STRIDE, TextureNetwork
from neuralpatch_cuda.synthesis.layout import Layout
from neuralpatch_cuda.synthesis.sources import Sources
from neuralpatch_cuda.synthesis.texture import layouts

LEAST_PATCH = 3
"""Side in cells; a single cell says too little of the texture: what is copied is noise."""

ENOUGH = 0.05
"""Known patches per patch of the hole. Of fewer, all are copied everywhere, and their colours go astray."""


def find_patches(
    network: TextureNetwork, patch_size: int, mask: Tensor, sources: Sources
) -> tuple[TextureNetwork, int] | None:
    """Choose layers and a patch size with which a hole has enough patches to copy from, or else the most.

    Args:
        network: its layers are the first choice.
        patch_size: side in cells, the first choice.
        mask: the hole, bool `[H, W]`.
        sources: where patches may be taken from.

    Returns:
        The network, with these layers, and the patch size; None if no patch is left even in the earliest layer.
    """
    best, most = None, 0.0
    for size in range(patch_size, min(patch_size, LEAST_PATCH) - 1, -2):
        for each in (network, *_earlier(network)):
            found = layouts(each, mask, size, sources).values()
            share = max(map(_patches_per_query, found), default=0.0)
            if share >= ENOUGH:
                return each, size
            if share > most:
                best, most = (each, size), share
    return best


def _patches_per_query(layout: Layout) -> float:
    return sum(int(keys.sum()) for keys in layout.key_masks) / len(layout.query_position)


def _earlier(network: TextureNetwork) -> Iterator[TextureNetwork]:
    """The same network with the first layer of each earlier block, whose cells are smaller, latest first."""
    finest = min(STRIDE[layer] for layer in network.layers)
    for layer in reversed(network.depth):
        if layer.endswith("_1") and STRIDE[layer] < finest:
            yield network.narrowed([layer])
