"""The texture term of one scale: what the hole's features are matched with, and how far they are off."""

from __future__ import annotations

import torch
from torch import Tensor

from neuralpatch_cuda import ops
from neuralpatch_cuda.networks.texture import STRIDE, TextureNetwork
from neuralpatch_cuda.stages import stage
from neuralpatch_cuda.synthesis.boxes import Box, refit
from neuralpatch_cuda.synthesis.features import LocalFeatures
from neuralpatch_cuda.synthesis.layout import Layout, Matches, lay_out
from neuralpatch_cuda.synthesis.memory import default_budget, tile_side
from neuralpatch_cuda.synthesis.search import Search, Searches
from neuralpatch_cuda.synthesis.sources import Sources
from neuralpatch_cuda.synthesis.tiles import TiledFeatures, compute_features


class LayerTerm:
    """One layer's part of the texture term."""

    def __init__(self, name: str, layout: Layout, search: Search, keys: list[Tensor], share: float) -> None:
        """Take what is fixed.

        Args:
            name: of the layer.
            layout: the layer's geometry.
            search: finds its matches.
            keys: features of the window and of each exemplar, `[C, Hk, Wk]`.
            share: the term's weight in the loss.
        """
        self.name, self.layout, self.keys = name, layout, keys
        support = layout.support
        self._target = keys[0].new_empty(support.height, support.width, len(keys[0])).permute(2, 0, 1)
        self._weight = keys[0].new_empty(support.height, support.width, dtype=torch.float32)
        """Of each cell, in the loss: its number of votes, times the same for all."""
        self._search, self._share = search, share
        self._index = torch.full_like(layout.query_position, -1)

    @property
    def matches(self) -> Matches:
        """What was matched last."""
        return self.layout.spread(self._index)

    def match(self, query: Tensor) -> Tensor:
        """Find each hole patch's nearest known patch and vote them into a target.

        Args:
            query: features of the support, `[C, h, w]`.

        Returns:
            The scores, `[Nq]`.
        """
        with stage("match"):
            self._index, score = self._search(query, self.keys)
        height, width = self._weight.shape
        votes, layout = (self._target, self._weight), self.layout
        with stage("vote"):
            ops.vote_patches(self.keys, layout.query_position, self._index, layout.size, height, width, out=votes)
            length = torch.linalg.vector_norm(self._target, dim=0, dtype=torch.float32)
            energy = (self._weight * length.square()).sum().clamp(min=1e-12)
            self._weight.mul_(self._share / energy)
        return score

    def loss_and_gradient(self, features: Tensor, cells: Box, gradient: Tensor | None) -> tuple[Tensor, Tensor]:
        """`share * sum_p n(p) |F(p) - T(p)|^2 / sum_p n(p) |T(p)|^2`, the sum above over some of the support's cells.

        Args:
            features: F over these cells, `[C, h, w]`.
            cells: which ones.
            gradient: to be overwritten, or None.
        """
        support = self.layout.support
        target, weight = refit(self._target, support, cells), refit(self._weight, support, cells)
        return ops.texture_loss_and_gradient(features, target, weight, gradient)


def layouts(network: TextureNetwork, mask: Tensor, patch_size: int, sources: Sources) -> dict[str, Layout]:
    """The geometry of the network's layers that have a patch free of the hole; see `TextureTerm` for the arguments."""
    usable = [exemplar.usable for exemplar in sources.exemplars]
    found = {name: lay_out(mask, STRIDE[name], patch_size, sources.usable, usable) for name in network.layers}
    return {name: layout for name, layout in found.items() if layout is not None}


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
        sources: Sources,
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
            sources: where patches may be taken from.
            memory_budget: of the scale, in bytes; None for a share of what is free.
        """
        used = layouts(network, mask, patch_size, sources)
        self.layers: list[LayerTerm] = []
        if used:
            supports = {name: layout.support for name, layout in used.items()}
            with stage("known features"):
                budget = memory_budget or default_budget(image.device)
                side = tile_side(network, image[0].numel(), box.height * box.width, budget, image.device)
                self._features = (
                    LocalFeatures(network, image, box, supports)
                    if side is None
                    else TiledFeatures(network, image, box, supports, side)
                )
                known = [self._features.known]
                known += [compute_features(network, exemplar.image, used, side) for exemplar in sources.exemplars]
            for name, layout in used.items():
                keys = [features[name] for features in known]
                search = searches(name, layout, len(keys[0]))
                self.layers.append(LayerTerm(name, layout, search, keys, alpha / len(used)))

    def set_pixels(self, pixels: Tensor) -> None:
        """Give the box's pixels new values, `[3, h, w]`."""
        with stage("network forward"):
            self._features.set_pixels(pixels)

    def match(self) -> Tensor:
        """Match and vote every layer anew; returns the mean score."""
        with stage("network forward"):
            values = self._features.values()
        return torch.cat([layer.match(values[layer.name]) for layer in self.layers]).mean()

    def loss_and_gradient(self) -> tuple[Tensor, Tensor]:
        """The term, and its derivative with respect to the box's pixels, `[3, h, w]`."""
        layers = {layer.name: layer for layer in self.layers}
        losses = []

        def compare(name: str, features: Tensor, cells: Box, out: Tensor | None) -> Tensor:
            with stage("texture loss"):
                loss, gradient = layers[name].loss_and_gradient(features, cells, out)
            losses.append(loss)
            return gradient

        with stage("network backward"):
            gradient = self._features.backward(compare)
        return torch.stack(losses).sum(), gradient
