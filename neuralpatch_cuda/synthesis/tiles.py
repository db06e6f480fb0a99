"""A texture network's features as a function of a box of the window's pixels, computed tile by tile.

`LocalFeatures` keeps the activations of every layer; here they live for one tile only, and the backward pass computes
them again (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). Each tile is computed with a margin as
wide as the receptive field, so that the features are those of the whole window.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor

from neuralpatch_cuda.networks.texture import STRIDE, TextureNetwork
from neuralpatch_cuda.synthesis.boxes import Box, refit


def margin(network: TextureNetwork) -> int:
    """Pixels around a cell that its features depend on, in whole cells of the deepest layer."""
    pixels = sum(STRIDE[layer] for layer in network.depth)
    deepest = STRIDE[network.layers[-1]]
    return -(-pixels // deepest) * deepest


class TiledFeatures:
    """The features of a window of which only the pixels of a box change; the interface of `LocalFeatures`."""

    def __init__(self, network: TextureNetwork, image: Tensor, box: Box, supports: dict[str, Box], side: int) -> None:
        """Compute the features of the whole window once.

        Args:
            network: gives the features.
            image: the window, `[3, H, W]`, float32 in [0, 1].
            box: the pixels that will change.
            supports: for each layer whose features are wanted, which of its cells.
            side: of a tile without its margin, in pixels; rounded up to whole cells of the deepest layer.
        """
        self._network, self._box, self._image = network, box, image.clone()
        deepest = STRIDE[network.layers[-1]]
        self._side = -(-side // deepest) * deepest
        self._supports = supports
        window = Box(0, 0, *image.shape[-2:])
        wholes = {layer: window.shrunk(STRIDE[layer]) for layer in supports}
        self.known: dict[str, Tensor] = {}
        """Features of the whole window as it is now: `[C, H // s, W // s]` for each layer of `supports`."""
        self._compute(window, wholes, self.known)
        self.values = {
            layer: refit(self.known[layer], wholes[layer], support).clone() for layer, support in supports.items()
        }
        """The features over `supports`, `[C, h, w]` each; `forward` renews them in place."""
        reached = [support.finer(STRIDE[layer]) for layer, support in supports.items()]
        self._reached = reduce(Box.union, reached).intersection(window)

    def _tiles(self, region: Box) -> Iterator[tuple[Box, Box]]:
        """Tiles of pixels that cover a region, on a grid of the window's, and each one's with its margin."""
        side, window = self._side, Box(0, 0, *self._image.shape[-2:])
        for top in range(region.top // side * side, region.bottom, side):
            for left in range(region.left // side * side, region.right, side):
                tile = Box(top, left, top + side, left + side).intersection(window)
                yield tile, tile.grown(margin(self._network)).intersection(window)

    @torch.no_grad()
    def _compute(self, region: Box, wanted: dict[str, Box], out: dict[str, Tensor]) -> None:
        """Write the features of a region's tiles, as far as they are wanted, into maps that cover `wanted`."""
        for tile, read in self._tiles(region):
            rows, columns = read.slices
            for layer, features in self._network(self._image[:, rows, columns]).items():
                if layer not in wanted:
                    continue
                if layer not in out:
                    box = wanted[layer]
                    out[layer] = features.new_empty(box.height, box.width, len(features)).permute(2, 0, 1)
                cells = tile.shrunk(STRIDE[layer])
                if cells.intersects(wanted[layer]):
                    cells = cells.intersection(wanted[layer])
                    found = refit(features, read.shrunk(STRIDE[layer]), cells)
                    refit(out[layer], wanted[layer], cells).copy_(found)

    def forward(self, pixels: Tensor) -> None:
        """Compute the features for new values of the box's pixels, `[3, h, w]` in [0, 1]."""
        rows, columns = self._box.slices
        self._image[:, rows, columns] = pixels
        self._compute(self._reached, self._supports, self.values)

    def backward(self, gradients: dict[str, Tensor]) -> Tensor:
        """From the gradients of `values` to that of the box's pixels, float32 `[3, h, w]`."""
        total = self._image.new_zeros(3, self._box.height, self._box.width, dtype=torch.float32)
        for tile, read in self._tiles(self._reached):
            if not read.intersects(self._box):
                continue
            rows, columns = read.slices
            pixels = self._image[:, rows, columns].requires_grad_()
            outputs, weights = [], []
            with torch.enable_grad():
                for layer, features in self._network(pixels).items():
                    cells = tile.shrunk(STRIDE[layer])
                    if layer in gradients and cells.intersects(self._supports[layer]):
                        cells = cells.intersection(self._supports[layer])
                        outputs.append(refit(features, read.shrunk(STRIDE[layer]), cells))
                        weights.append(refit(gradients[layer], self._supports[layer], cells))
            if outputs:
                (gradient,) = torch.autograd.grad(outputs, pixels, weights)
                changing = read.intersection(self._box)
                refit(total, self._box, changing).add_(refit(gradient, read, changing))
        return total
