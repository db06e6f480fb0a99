"""A texture network's features as a function of a box of the window's pixels, in bounded memory.

`LocalFeatures` keeps the activations of every layer. Here the network is cut into parts where its maps are small, after
poolings and at the wanted layers; between the parts whole maps are kept, and within a part everything is computed tile
by tile, forward and, once more, for the way back (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).
A tile reads as many cells around it as its result depends on, so that every number is the sum of the same products,
whatever the tiles: the result is that of `LocalFeatures`, to the bit where the convolutions' rounding does not depend
on the shape of their input, as on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from neuralpatch_cuda.networks.texture import STRIDE, TextureNetwork
from neuralpatch_cuda.synthesis.boxes import Box, refit
from neuralpatch_cuda.synthesis.features import Compare, Convolution, Pooling, reach

USUAL = Box(0, 0, 64, 64)
"""What the convolutions' weights are laid out for; any other size will do."""


def tiles(region: Box, side: int) -> Iterator[Box]:
    """Squares that cover a region, on a grid of its whole map's."""
    for top in range(region.top // side * side, region.bottom, side):
        for left in range(region.left // side * side, region.right, side):
            yield Box(top, left, top + side, left + side).intersection(region)


class Part:
    """Some successive layers of the network, with the poolings before and after them that are not between two layers.

    It takes a map, post-ReLU, to another; `entry`, `inner` and `exit` are the pixels per cell of the first, of its
    layers, and of the second.
    """

    def __init__(self, network: TextureNetwork, layers: list[str], pools_first: bool, pools_last: bool, window: Box):
        self.layers, self._first, self._last = layers, 2 if pools_first else 1, 2 if pools_last else 1
        self.inner = STRIDE[layers[0]]
        self.entry, self.exit = self.inner // self._first, self.inner * self._last
        self._whole, self._whole_exit = window.shrunk(self.inner), window.shrunk(self.exit)
        convolutions = [network.convolution(layer) for layer in layers]
        self._forward = [Convolution(each.weight, each.bias, 0, USUAL) for each in convolutions]
        self._back = [Convolution(each.weight.flip(2, 3).transpose(0, 1), None, 0, USUAL) for each in convolutions]

    def read_by(self, out: Box) -> Box:
        """The cells of the entry that cells of the exit depend on."""
        return self._grown(out.finer(self._last), len(self.layers)).finer(self._first)

    def reached_from(self, entry: Box) -> Box:
        """The cells of the exit that depend on cells of the entry."""
        inner = self._grown(entry.coarser(self._first), len(self.layers))
        return inner.coarser(self._last).intersection(self._whole_exit)

    def forward(self, x: Tensor, covered: Box, out: Box) -> Tensor:
        """The exit's cells `out`, `[1, C, h, w]`, from those of the entry that `x` covers."""
        y = self._activations(x, covered, out.finer(self._last))[-1]
        return Pooling().forward(y) if self._last > 1 else y

    def backward(self, x: Tensor, covered: Box, gradient: Tensor, given: Box, entry: Box) -> Tensor:
        """The gradient in cells of the entry.

        Args:
            x: the entry, over the box `covered`.
            gradient: in the exit, over the box `given`; zero elsewhere.
            entry: the wanted cells.
        """
        wanted = entry.coarser(self._first).intersection(self._whole)
        if wanted.empty:  # an odd last row or column, which the pooling leaves out
            return pixel_major(x, entry).zero_()
        out = self.reached_from(entry)
        inner = out.finer(self._last)
        gradient = refit(gradient, given, out)
        *hidden, y = self._activations(x, covered, inner)
        if self._last > 1:
            pooling = Pooling()
            pooling.forward(y)
            gradient = pooling.backward(gradient)
        box = inner
        for i in range(len(self.layers), 0, -1):
            gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
            given, box = box, self._grown(wanted, i - 1)
            gradient = self._back[i - 1](refit(gradient, given, box.grown(1)))
            if hidden:
                y = refit(hidden.pop(), self._grown(inner, len(self.layers) - i + 1), box)
        if self._first > 1:
            whole = wanted.finer(self._first)
            pooling = Pooling()
            pooling.forward(refit(x, covered, whole))
            gradient = refit(pooling.backward(gradient), whole, entry)
        return gradient

    def _activations(self, x: Tensor, covered: Box, last: Box) -> list[Tensor]:
        """What each layer gives, post-ReLU: the last one over these cells, each before it over one more around them."""
        read = self._grown(last, len(self.layers))
        x = refit(x, covered, read.finer(self._first))
        x = Pooling().forward(x) if self._first > 1 else x
        found = []
        for i, convolve in enumerate(self._forward):
            box = self._grown(last, len(self.layers) - 1 - i)
            x = F.relu_(convolve(refit(x, read, box.grown(1))))
            found.append(x)
            read = box
        return found

    def _grown(self, box: Box, cells: int) -> Box:
        return box.grown(cells).intersection(self._whole)


def parts_of(network: TextureNetwork, layers: Collection[str], window: Box) -> list[Part]:
    """The network up to the last of the wanted layers, in parts that end at these and at poolings."""
    depth = network.depth[: max(map(network.depth.index, layers)) + 1]
    parts: list[Part] = []
    current: list[str] = []
    for i, layer in enumerate(depth):
        current.append(layer)
        pools = i + 1 < len(depth) and network.pools_before(depth[i + 1])
        if layer in layers or pools:
            before = depth.index(current[0])
            pools_first = network.pools_before(current[0]) and depth[before - 1] in layers
            parts.append(Part(network, current, pools_first, pools and layer not in layers, window))
            current = []
    return parts


@dataclass
class Map:
    """What lies between two parts, or behind the last."""

    values: Tensor
    """`[1, C, h, w]`, post-ReLU."""
    held: Box
    """Its cells that `values` covers."""
    changing: Box
    """Those that change with the pixels, and that the wanted features depend on."""


class TiledFeatures:
    """The features of a window of which only the pixels of a box change; the interface of `LocalFeatures`."""

    def __init__(self, network: TextureNetwork, image: Tensor, box: Box, supports: dict[str, Box], side: int) -> None:
        """Compute the features of the whole window once.

        Args:
            network: gives the features.
            image: the window, `[3, H, W]`, float32 in [0, 1].
            box: the pixels that will change.
            supports: for each layer whose features are wanted, which of its cells.
            side: of a tile at the first layers, in pixels.
        """
        self._network, self._box, self._supports, self._side = network, box, supports, side
        window = Box(0, 0, *image.shape[-2:])
        self._parts = parts_of(network, supports, window)
        changing = self._changing(window)
        held = [part.read_by(part.reached_from(cells)) for part, cells in zip(self._parts, changing, strict=False)]
        held = [a.union(part.read_by(b)) for a, part, b in zip(held, self._parts, changing[1:], strict=True)]
        held.append(changing[-1])
        ends = {part.layers[-1]: i for i, part in enumerate(self._parts, 1) if part.layers[-1] in supports}
        for layer, i in ends.items():
            held[i] = held[i].union(supports[layer])
        wholes = {i: window.shrunk(STRIDE[layer]) for layer, i in ends.items()}
        wanted = [wholes.get(i, box) for i, box in enumerate(held)]
        found = compute(network, self._parts, image, wanted, side)
        self.known = {layer: found[i][0] for layer, i in ends.items()}
        """Features of the whole window as it is now: `[C, H // s, W // s]` for each layer of `supports`."""
        for i, whole in wholes.items():
            found[i] = refit(found[i], whole, held[i]).clone(memory_format=torch.channels_last)
        self._maps = [Map(*each) for each in zip(found, held, changing, strict=True)]
        self._features = {layer: self._maps[i] for layer, i in ends.items()}

    def _changing(self, window: Box) -> list[Box]:
        """Of each map, the cells that change and matter."""
        layers = self._network.depth[: self._network.depth.index(self._parts[-1].layers[-1]) + 1]
        given, computed = reach(layers, self._box, self._supports, window.height, window.width)
        boxes = [self._box]
        for part in self._parts:
            last = layers.index(part.layers[-1])
            boxes.append(computed[last] if part.exit == part.inner else given[last + 1])
        return boxes

    @torch.no_grad()
    def set_pixels(self, pixels: Tensor) -> None:
        """Give the box's pixels new values, `[3, h, w]` in [0, 1]."""
        first = self._maps[0]
        refit(first.values, first.held, self._box).copy_(self._network.normalise(pixels[None]))
        for part, entry, out in zip(self._parts, self._maps, self._maps[1:], strict=False):
            for tile in tiles(out.changing, self._side_of(part.exit)):
                refit(out.values, out.held, tile).copy_(part.forward(entry.values, entry.held, tile))

    def values(self) -> dict[str, Tensor]:
        """The features over `supports`, `[C, h, w]` each, in tensors that are always the same."""
        return {
            layer: refit(each.values, each.held, self._supports[layer])[0] for layer, each in self._features.items()
        }

    @torch.no_grad()
    def backward(self, compare: Compare) -> Tensor:
        """The gradient of the box's pixels, float32 `[3, h, w]`, from those of the features."""
        gradient, given = self._own_gradient(len(self._parts), compare)
        for i in range(len(self._parts) - 1, -1, -1):
            part, entry = self._parts[i], self._maps[i]
            below, box = self._own_gradient(i, compare)
            for tile in tiles(entry.changing, self._side_of(part.entry)):
                refit(below, box, tile).add_(part.backward(entry.values, entry.held, gradient, given, tile))
            gradient, given = below, box
        return self._network.normalise_backward(gradient)[0]

    def _own_gradient(self, number: int, compare: Compare) -> tuple[Tensor, Box]:
        """Of a map, what its own comparison gives and zero elsewhere, and the cells that this covers."""
        each = self._maps[number]
        layer = next((layer for layer, feature in self._features.items() if feature is each), None)
        support = self._supports[layer] if layer else each.changing
        covered = support.union(each.changing)
        gradient = pixel_major(each.values, covered)
        if layer and support == covered:
            compare(layer, self.values()[layer], support, gradient[0])
        else:
            gradient.zero_()
            if layer:
                own = compare(layer, self.values()[layer], support, None)
                refit(gradient, covered, support)[0].copy_(own)
        return gradient, covered

    def _side_of(self, stride: int) -> int:
        """Of a tile in cells, so that it holds as many values at each stride: the channels double with it."""
        return max(8, math.isqrt(self._side**2 // stride))


@torch.no_grad()
def compute(
    network: TextureNetwork, parts: Sequence[Part], image: Tensor, wanted: Sequence[Box], side: int
) -> list[Tensor]:
    """Of an image `[3, H, W]` and of the map behind each part, the wanted cells, `[1, C, h, w]`.

    Each tile goes through the whole network at once, so that no map but these is ever whole.
    """
    found: list[Tensor] = []
    window = Box(0, 0, *image.shape[-2:])
    strides = [1, *(part.exit for part in parts)]
    side = -(-side // strides[-1]) * strides[-1]
    for tile in tiles(window, side):
        cells = [tile.shrunk(stride) for stride in strides]
        needed = [cells[-1]]
        for part, own in zip(reversed(parts), cells[-2::-1], strict=True):
            needed.insert(0, own if needed[0].empty else part.read_by(needed[0]).union(own))
        rows, columns = needed[0].slices
        x = network.normalise(image[None, :, rows, columns])
        for i, box in enumerate(wanted):
            if i > 0 and not needed[i].empty:  # a strip narrower than a cell at the window's edge
                x = parts[i - 1].forward(x, needed[i - 1], needed[i])
            if len(found) == i:
                found.append(pixel_major(x, box))
            if cells[i].intersects(box):
                each = cells[i].intersection(box)
                refit(found[i], box, each).copy_(refit(x, needed[i], each))
    return found


def pixel_major(like: Tensor, box: Box) -> Tensor:
    """An empty map `[1, C, h, w]` over a box, in channels-last memory."""
    return like.new_empty(1, box.height, box.width, like.shape[1]).permute(0, 3, 1, 2)


def compute_features(
    network: TextureNetwork, image: Tensor, layers: Collection[str], side: int | None
) -> dict[str, Tensor]:
    """The features of an image `[3, H, W]`, for each layer `[C, H // s, W // s]`; in tiles unless `side` is None."""
    window = Box(0, 0, *image.shape[-2:])
    parts = parts_of(network, layers, window)
    nothing = Box(0, 0, 0, 0)
    wanted = [nothing, *(window.shrunk(part.exit) if part.layers[-1] in layers else nothing for part in parts)]
    found = compute(network, parts, image, wanted, side or max(window.height, window.width))
    return {part.layers[-1]: each[0] for part, each in zip(parts, found[1:], strict=True) if part.layers[-1] in layers}
