"""A texture network's features as a function of a box of the window's pixels, computed tile by tile.

`LocalFeatures` keeps the activations of every layer; here they live for one tile only, which goes forward and, since
the loss in a feature depends on no other, at once backward. For matching, which needs all of them, the features are
computed once more. Each tile has a margin as wide as the receptive field, so that they are those of the whole window.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import reduce

import torch
from torch import Tensor

from neuralpatch_cuda.networks.texture import STRIDE, TextureNetwork
from neuralpatch_cuda.synthesis.boxes import Box, refit
from neuralpatch_cuda.synthesis.features import Compare


def margin(network: TextureNetwork) -> int:
    """Pixels around a cell that its features depend on, in whole cells of the deepest layer."""
    pixels = sum(STRIDE[layer] for layer in network.depth)
    deepest = STRIDE[network.layers[-1]]
    return -(-pixels // deepest) * deepest


def tiles(region: Box, window: Box, side: int) -> Iterator[Box]:
    """Squares that cover a region, on a grid of the window's."""
    for top in range(region.top // side * side, region.bottom, side):
        for left in range(region.left // side * side, region.right, side):
            yield Box(top, left, top + side, left + side).intersection(window)


@torch.no_grad()
def compute(
    network: TextureNetwork, image: Tensor, region: Box, wanted: dict[str, Box], side: int, out: dict[str, Tensor]
) -> None:
    """Write the features of a region's tiles, as far as they are wanted, into maps that cover `wanted`."""
    window = Box(0, 0, *image.shape[-2:])
    for tile in tiles(region, window, side):
        read = tile.grown(margin(network)).intersection(window)
        rows, columns = read.slices
        for layer, features in network(image[:, rows, columns]).items():
            if layer not in wanted:
                continue
            if layer not in out:
                box = wanted[layer]
                out[layer] = features.new_empty(box.height, box.width, len(features)).permute(2, 0, 1)
            cells = tile.shrunk(STRIDE[layer])
            if cells.intersects(wanted[layer]):
                cells = cells.intersection(wanted[layer])
                refit(out[layer], wanted[layer], cells).copy_(refit(features, read.shrunk(STRIDE[layer]), cells))


def compute_features(
    network: TextureNetwork, image: Tensor, layers: Collection[str], side: int | None
) -> dict[str, Tensor]:
    """The features of an image `[3, H, W]`, for each layer `[C, H // s, W // s]`; in tiles unless `side` is None."""
    window = Box(0, 0, *image.shape[-2:])
    if side is None:
        side = max(image.shape[-2:])
    features: dict[str, Tensor] = {}
    wholes = {layer: window.shrunk(STRIDE[layer]) for layer in layers}
    compute(network, image, window, wholes, whole_cells(network, side), features)
    return features


def whole_cells(network: TextureNetwork, side: int) -> int:
    """A side in pixels, rounded up to whole cells of the deepest layer."""
    deepest = STRIDE[network.layers[-1]]
    return -(-side // deepest) * deepest


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
        self._side, self._supports = whole_cells(network, side), supports
        self._window = Box(0, 0, *image.shape[-2:])
        self.known = compute_features(network, self._image, supports, side)
        """Features of the whole window as it is now: `[C, H // s, W // s]` for each layer of `supports`."""
        reached = [support.finer(STRIDE[layer]) for layer, support in supports.items()]
        self._reached = reduce(Box.union, reached).intersection(self._window)

    def set_pixels(self, pixels: Tensor) -> None:
        """Give the box's pixels new values, `[3, h, w]` in [0, 1]."""
        rows, columns = self._box.slices
        self._image[:, rows, columns] = pixels

    def values(self) -> dict[str, Tensor]:
        """The features over `supports`, `[C, h, w]` each."""
        values: dict[str, Tensor] = {}
        compute(self._network, self._image, self._reached, self._supports, self._side, values)
        return values

    def backward(self, compare: Compare) -> Tensor:
        """The gradient of the box's pixels, float32 `[3, h, w]`, from those of the features."""
        total = self._image.new_zeros(3, self._box.height, self._box.width)
        for tile in tiles(self._reached, self._window, self._side):
            read = tile.grown(margin(self._network)).intersection(self._window)
            if not read.intersects(self._box):
                continue
            rows, columns = read.slices
            pixels = self._image[:, rows, columns].requires_grad_()
            outputs, gradients = [], []
            with torch.enable_grad():
                features = self._network(pixels)
            for layer, support in self._supports.items():
                cells = tile.shrunk(STRIDE[layer])
                if cells.intersects(support):
                    cells = cells.intersection(support)
                    outputs.append(refit(features[layer], read.shrunk(STRIDE[layer]), cells))
                    gradients.append(compare(layer, outputs[-1].detach(), cells, None))
            if outputs:
                (gradient,) = torch.autograd.grad(outputs, pixels, gradients)
                changing = read.intersection(self._box)
                refit(total, self._box, changing).add_(refit(gradient, read, changing))
        return total
