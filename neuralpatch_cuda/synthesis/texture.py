"""The texture term of one scale: what the hole's features are matched with, and how far they are off."""

from __future__ import annotations

import torch
from torch import Tensor

from neuralpatch_cuda import ops
from neuralpatch_cuda.networks.texture import STRIDE, TextureNetwork
from neuralpatch_cuda.stages import stage
from neuralpatch_cuda.synthesis.boxes import Box
from neuralpatch_cuda.synthesis.features import LocalFeatures
from neuralpatch_cuda.synthesis.layout import Layout, lay_out
from neuralpatch_cuda.synthesis.memory import tile_side
from neuralpatch_cuda.synthesis.search import Search, Searches
from neuralpatch_cuda.synthesis.tiles import TiledFeatures


class LayerTerm:
    """One layer's part of the texture term."""

    def __init__(self, name: str, layout: Layout, search: Search, key: Tensor, query: Tensor, share: float) -> None:
        """Take what is fixed.

        Args:
            name: of the layer.
            layout: the layer's geometry.
            search: finds its matches.
            key: features of the window, `[C, Hk, Wk]`.
            query: features of the support, `[C, h, w]`; they change in place.
            share: the term's weight in the loss.
        """
        self.name, self.layout = name, layout
        self.key, self.query = key, query
        self.target = torch.empty_like(query)
        self.weight = query.new_empty(query.shape[1:], dtype=torch.float32)
        """Of each cell, in the loss: its number of votes, times the same for all."""
        self.gradient = torch.empty_like(query)
        self._search, self._share = search, share
        self._index = torch.full_like(layout.query_position, -1)

    @property
    def matches(self) -> Tensor:
        """What was matched last, at the patches' places in the window; see `Layout.spread`."""
        return self.layout.spread(self._index)

    def match(self) -> Tensor:
        """Find each hole patch's nearest known patch and vote them into a target; returns the scores `[Nq]`."""
        with stage("match"):
            self._index, score = self._search(self.query, self.key)
        height, width = self.weight.shape
        votes, layout = (self.target, self.weight), self.layout
        with stage("vote"):
            ops.vote_patches(self.key, layout.query_position, self._index, layout.size, height, width, out=votes)
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
        self,
        network: TextureNetwork,
        image: Tensor,
        mask: Tensor,
        box: Box,
        patch_size: int,
        alpha: float,
        searches: Searches,
        memory_budget: int | None = None,
    ) -> None:
        """Compute the known features and the geometry of a scale.

        Args:
            network: gives the features; its layers are used, except those too coarse to have a patch free of the hole.
            image: the window at this scale, `[3, H, W]`, its hole filled with the starting guess.
            mask: the hole, bool `[H, W]`.
            box: the pixels that may change; the hole is inside.
            patch_size: side of the patches in feature cells.
            alpha: weight of the mean of the layers' relative losses.
            searches: gives each layer its search.
            memory_budget: of the features, in bytes; None for a share of what is free.
        """
        layouts = {name: lay_out(mask, STRIDE[name], patch_size) for name in network.layers}
        used = {name: layout for name, layout in layouts.items() if layout is not None}
        self.layers: list[LayerTerm] = []
        if used:
            supports = {name: layout.support for name, layout in used.items()}
            with stage("known features"):
                side = tile_side(network, image[0].numel(), box.height * box.width, memory_budget, image.device)
                self._features = (
                    LocalFeatures(network, image, box, supports)
                    if side is None
                    else TiledFeatures(network, image, box, supports, side)
                )
            known, values, share = self._features.known, self._features.values, alpha / len(used)
            self.layers = [
                LayerTerm(name, layout, searches(name, layout, known[name]), known[name], values[name], share)
                for name, layout in used.items()
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
