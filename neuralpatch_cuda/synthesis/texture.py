"""The texture term of one scale: which features belong to the hole, what they are matched with, how far they are off.

Geometry of one layer: its feature map is a grid of cells of `stride` pixels; a cell belongs to the hole when any of
its pixels does. Queries are the patches that touch a hole cell, keys those that touch none. Only the crop of the
window that the hole's pixels can influence is run through the network again and again; the known features are
computed once a scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from neuralpatch_cuda import ops
from neuralpatch_cuda.networks.texture import STRIDE, TextureNetwork, receptive_field
from neuralpatch_cuda.synthesis.windows import Box, bounding_box


def dilate_cells(cells: Tensor, size: int) -> Tensor:
    """For a bool grid `[h, w]`: True at each position of a `size` x `size` patch that touches a True cell."""
    if min(cells.shape) < size:
        return cells.new_zeros([max(0, n - size + 1) for n in cells.shape])
    return F.max_pool2d(cells[None].float(), size, stride=1)[0] > 0


@dataclass
class LayerTerm:
    """One layer's part of the texture term; `target`, `count` and `energy` are set by `match`."""

    name: str
    patch_size: int
    key: Tensor
    """Features of the window at the start of the scale, `[C, Hk, Wk]`."""
    key_mask: Tensor
    """Patch positions free of the hole, bool."""
    query_mask: Tensor
    """Patch positions of the crop that touch the hole, bool."""
    query_position: Tensor
    """The same as numbers, int64 `[Nq]`."""
    target: Tensor | None = None
    count: Tensor | None = None
    energy: Tensor | None = None

    def match(self, features: Tensor) -> Tensor:
        """Find each hole patch's nearest known patch and vote them into a target; returns the scores `[Nq]`."""
        index, score = ops.match_patches(features, self.key, self.query_mask, self.key_mask, self.patch_size)
        height, width = features.shape[-2:]
        self.target, self.count = ops.vote_patches(self.key, self.query_position, index, self.patch_size, height, width)
        self.energy = (self.count * self.target.float().square().sum(0)).sum().clamp(min=1e-12)
        return score

    def loss(self, features: Tensor) -> Tensor:
        """`sum_p n(p) |F(p) - T(p)|^2 / sum_p n(p) |T(p)|^2`."""
        assert self.target is not None and self.count is not None and self.energy is not None
        return ops.texture_loss(features, self.target, self.count) / self.energy


class TextureTerm:
    """E_texture of one scale, as a function of the crop's pixels."""

    def __init__(self, network: TextureNetwork, image: Tensor, mask: Tensor, patch_size: int) -> None:
        """Compute the known features and the geometry of a scale.

        Args:
            network: gives the features; its layers are used, except those too coarse to have a patch free of the hole.
            image: the window at this scale, `[3, H, W]`, its hole filled with the starting guess.
            mask: the hole, bool `[H, W]`.
            patch_size: side of the patches in feature cells.
        """
        self._network = network
        self.crop = influence_box(network, mask, patch_size)
        rows, columns = self.crop.slices
        self.layers: list[LayerTerm] = []
        with torch.no_grad():
            known = network(image)
        for name, key in known.items():
            stride = STRIDE[name]
            hole = F.max_pool2d(mask[None].float(), stride)[0] > 0
            inside = hole[rows.start // stride : rows.stop // stride, columns.start // stride : columns.stop // stride]
            key_mask, query_mask = ~dilate_cells(hole, patch_size), dilate_cells(inside, patch_size)
            if not key_mask.any() or not query_mask.any():
                continue
            position = query_mask.flatten().nonzero()[:, 0]
            self.layers.append(LayerTerm(name, patch_size, key, key_mask, query_mask, position))

    def features(self, crop: Tensor) -> dict[str, Tensor]:
        """Features `[C, h, w]` of the crop's pixels `[3, H, W]`, for each of the network's layers."""
        features: dict[str, Tensor] = self._network(crop)
        return features

    def match(self, features: dict[str, Tensor]) -> float:
        """Match and vote every layer anew; returns the mean score."""
        scores = [layer.match(features[layer.name].detach()) for layer in self.layers]
        return torch.cat(scores).mean().item()

    def loss(self, features: dict[str, Tensor]) -> Tensor:
        """Mean of the layers' relative losses."""
        return torch.stack([layer.loss(features[layer.name]) for layer in self.layers]).mean()


def influence_box(network: TextureNetwork, mask: Tensor, patch_size: int) -> Box:
    """The part of the window that decides every feature the texture term looks at.

    That is the hole, the rest of the patches that touch it, and the receptive field of those; in whole cells of the
    coarsest layer, so that the crop's cells are the window's.
    """
    height, width = mask.shape
    cell = max(STRIDE[name] for name in network.layers)
    margin = max(patch_size * STRIDE[name] + receptive_field(name, network.architecture) for name in network.layers)
    box = bounding_box(mask)

    def fit(start: int, stop: int, extent: int) -> tuple[int, int]:
        begin, end = max(0, start - margin) // cell * cell, -(-(stop + margin) // cell) * cell
        return begin, min(end, extent)

    (top, bottom), (left, right) = fit(box.top, box.bottom, height), fit(box.left, box.right, width)
    return Box(top, left, bottom, right)
