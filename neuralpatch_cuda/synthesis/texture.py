"""The texture term of one scale: which features belong to the hole, what they are matched with, how far they are off.

Geometry of one layer: its feature map is a grid of cells of `stride` pixels; a cell belongs to the hole when any of
its pixels does. Queries are the patches that touch a hole cell, keys those that touch none. The support is the box of
the cells that queries cover.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from neuralpatch_cuda import ops
from neuralpatch_cuda.networks.texture import STRIDE, TextureNetwork
from neuralpatch_cuda.stages import stage
from neuralpatch_cuda.synthesis.boxes import Box, bounding_box
from neuralpatch_cuda.synthesis.features import LocalFeatures


def dilate_cells(cells: Tensor, size: int) -> Tensor:
    """For a bool grid `[h, w]`: True at each position of a `size` x `size` patch that touches a True cell."""
    if min(cells.shape) < size:
        return cells.new_zeros([max(0, n - size + 1) for n in cells.shape])
    return F.max_pool2d(cells[None].float(), size, stride=1)[0] > 0


@dataclass
class Layout:
    """The geometry of one layer."""

    support: Box
    query_position: Tensor
    """Which patch positions of the support touch the hole, as numbers, int64 `[Nq]`."""
    key_mask: Tensor
    """Which patch positions of the window are free of the hole, bool."""


def lay_out(mask: Tensor, stride: int, size: int) -> Layout | None:
    """A layer's geometry for the hole `[H, W]`; None where no patch is free of the hole, or none touches it."""
    cells = F.max_pool2d(mask[None].float(), stride)[0] > 0
    touched = dilate_cells(cells, size)
    if not touched.any() or touched.all():
        return None
    hole = bounding_box(cells)
    support = hole.grown(size - 1).intersection(Box(0, 0, *cells.shape))
    rows, columns = support.slices
    return Layout(support, dilate_cells(cells[rows, columns], size).flatten().nonzero()[:, 0], ~touched)


class LayerTerm:
    """One layer's part of the texture term."""

    def __init__(self, name: str, patch_size: int, layout: Layout, key: Tensor, query: Tensor, share: float) -> None:
        """Take what is fixed.

        Args:
            name: of the layer.
            patch_size: side of the patches in feature cells.
            layout: the layer's geometry.
            key: features of the window, `[C, Hk, Wk]`.
            query: features of the support, `[C, h, w]`; they change in place.
            share: the term's weight in the loss.
        """
        self.name = name
        self.key, self.key_mask = key, layout.key_mask
        self.query, self.query_position = query, layout.query_position
        self.target = torch.empty_like(query)
        self.weight = query.new_empty(query.shape[1:], dtype=torch.float32)
        """Of each cell, in the loss: its number of votes, times the same for all."""
        self.gradient = torch.empty_like(query)
        self._patch_size, self._share = patch_size, share

    def match(self) -> Tensor:
        """Find each hole patch's nearest known patch and vote them into a target; returns the scores `[Nq]`."""
        with stage("match"):
            index, score = ops.match_patches(self.query, self.key, self.query_position, self.key_mask, self._patch_size)
        height, width = self.weight.shape
        votes = self.target, self.weight
        with stage("vote"):
            ops.vote_patches(self.key, self.query_position, index, self._patch_size, height, width, out=votes)
            energy = (self.weight * self.target.float().square().sum(0)).sum().clamp(min=1e-12)
            self.weight.mul_(self._share / energy)
        return score

    def loss(self) -> Tensor:
        """`share * sum_p n(p) |F(p) - T(p)|^2 / sum_p n(p) |T(p)|^2`, and its derivative into `gradient`."""
        loss, _ = ops.texture_loss_and_gradient(self.query, self.target, self.weight, self.gradient)
        return loss


class TextureTerm:
    """alpha * E_texture of one scale, as a function of a box of the window's pixels."""

    def __init__(
        self, network: TextureNetwork, image: Tensor, mask: Tensor, box: Box, patch_size: int, alpha: float
    ) -> None:
        """Compute the known features and the geometry of a scale.

        Args:
            network: gives the features; its layers are used, except those too coarse to have a patch free of the hole.
            image: the window at this scale, `[3, H, W]`, its hole filled with the starting guess.
            mask: the hole, bool `[H, W]`.
            box: the pixels that may change; the hole is inside.
            patch_size: side of the patches in feature cells.
            alpha: weight of the mean of the layers' relative losses.
        """
        layouts = {name: lay_out(mask, STRIDE[name], patch_size) for name in network.layers}
        used = {name: layout for name, layout in layouts.items() if layout is not None}
        self.layers: list[LayerTerm] = []
        if used:
            supports = {name: layout.support for name, layout in used.items()}
            with stage("known features"):
                self._features = LocalFeatures(network, image, box, supports)
            known, values, share = self._features.known, self._features.values, alpha / len(used)
            self.layers = [
                LayerTerm(name, patch_size, layout, known[name], values[name], share) for name, layout in used.items()
            ]

    def set_pixels(self, pixels: Tensor) -> None:
        """Compute the features for new values of the box's pixels, `[3, h, w]`."""
        with stage("network forward"):
            self._features.forward(pixels)

    def match(self) -> Tensor:
        """Match and vote every layer anew; returns the mean score."""
        return torch.cat([layer.match() for layer in self.layers]).mean()

    def loss_and_gradient(self) -> tuple[Tensor, Tensor]:
        """The term, and its derivative with respect to the box's pixels, `[3, h, w]`."""
        with stage("texture loss"):
            loss = torch.stack([layer.loss() for layer in self.layers]).sum()
        with stage("network backward"):
            gradient = self._features.backward({layer.name: layer.gradient for layer in self.layers})
        return loss, gradient
