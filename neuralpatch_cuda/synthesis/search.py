"""How the patches of a hole find theirs: each compared with all known patches, or by PatchMatch.

The exact search takes time with the product of the two numbers, PatchMatch with that of the hole's alone. It needs
matches to begin with: those of the scale below, or random ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from neuralpatch_cuda import ops
from neuralpatch_cuda.synthesis.layout import Layout, Matches

Search = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Tensor]]
"""From the features of the hole, `[C, h, w]`, and of window and exemplars to index and score as `ops.match_patches`."""

FIRST_ROUNDS = 16
"""Rounds of PatchMatch from the matches of another scale, or from random ones."""

ROUNDS = 4
"""Rounds from the matches of a few iterations ago."""

MANY_PRODUCTS = 2e11
"""Pairs of hole and known patches, times channels, beyond which `auto` leaves the exact search."""


@dataclass(frozen=True)
class Searches:
    """Chooses each layer's search."""

    name: str = "exact"
    """exact; patchmatch; or auto, the exact one where it takes little time."""
    coarser: Mapping[str, Matches] = field(default_factory=dict)
    """Those of the scale below, layer by layer."""
    seed: int = 0
    """Of random matches."""

    def __call__(self, layer: str, layout: Layout, channels: int) -> Search:
        """The search of a layer with so many channels."""
        keys = sum(key_mask.numel() for key_mask in layout.key_masks)
        products = float(len(layout.query_position)) * keys * channels
        if self.name == "exact" or (self.name == "auto" and products <= MANY_PRODUCTS):
            return partial(match_exactly, layout)
        return PatchMatch(layout, self.coarser.get(layer), self.seed)


def match_exactly(layout: Layout, query: Tensor, keys: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Compare all pairs."""
    return ops.match_patches(query, keys, layout.query_position, layout.key_masks, layout.size)


class PatchMatch:
    """Improves the matches of the last call; at first, those of the scale below."""

    def __init__(self, layout: Layout, coarser: Matches | None, seed: int) -> None:
        self._layout, self._calls = layout, 0
        generator = torch.Generator("cpu").manual_seed(seed)
        selected = torch.cat([key_mask.flatten() for key_mask in layout.key_masks]).nonzero()[:, 0]
        draw = partial(torch.randint, generator=generator, dtype=torch.int64, device="cpu")
        drawn = draw(len(selected), layout.query_position.shape)
        self._seed = int(draw(2**32, ()))
        self._index = selected[drawn.to(selected.device)]
        if coarser is not None:
            index, found = layout.gather(coarser)
            self._index = torch.where(found, index, self._index)

    def __call__(self, query: Tensor, keys: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        layout = self._layout
        self._index, score = ops.refine_matches(
            query,
            keys,
            layout.query_position,
            layout.key_masks,
            self._index,
            layout.size,
            rounds=ROUNDS if self._calls else FIRST_ROUNDS,
            seed=(self._seed + self._calls) % 2**32,
        )
        self._calls += 1
        return self._index, score
