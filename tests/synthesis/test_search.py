"""How patches find theirs, and how one scale's matches begin the next one's search."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from neuralpatch_cuda import ops
from neuralpatch_cuda.synthesis.layout import Layout, lay_out
from neuralpatch_cuda.synthesis.search import PatchMatch, Searches, match_exactly

SIZE = 3


def layout_of(height: int, width: int, stride: int = 1) -> Layout:
    """Of a window with a hole in its middle."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[height // 3 : height // 2, width // 3 : width // 2] = True
    layout = lay_out(mask, stride, SIZE, torch.ones_like(mask))
    assert layout is not None
    return layout


def smooth(height: int, width: int, seed: int = 0) -> Tensor:
    coarse = torch.randn(1, 12, 8, 9, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bicubic")[0]


def hole_of(features: Tensor, layout: Layout) -> Tensor:
    rows, columns = layout.support.slices
    return features[:, rows, columns]


def test_matches_are_spread_to_their_places() -> None:
    layout = layout_of(20, 26)
    field = layout.spread(torch.arange(len(layout.query_position))).field
    assert field.shape == layout.key_masks[0].shape
    assert torch.equal(field >= 0, ~layout.key_masks[0])
    assert torch.equal(field[field >= 0], torch.arange(len(layout.query_position)))


def test_matches_of_the_same_scale_come_back() -> None:
    layout = layout_of(20, 26)
    index = layout.key_masks[0].flatten().nonzero()[: len(layout.query_position), 0]
    gathered, found = layout.gather(layout.spread(index))
    assert torch.equal(gathered, index) and found.all()


def test_matches_of_the_scale_below_are_moved_in_proportion() -> None:
    """All of them 10 down and 4 to the left there: 20 and 8 here, where that is free of the hole."""
    coarse, fine = layout_of(40, 52), layout_of(80, 104)
    columns = coarse.key_masks[0].shape[1]
    places = (~coarse.key_masks[0]).nonzero()
    moved = places + torch.tensor([10, -4])
    gathered, found = fine.gather(coarse.spread(moved[:, 0] * columns + moved[:, 1]))
    places, columns = (~fine.key_masks[0]).nonzero(), fine.key_masks[0].shape[1]
    distance = torch.stack([gathered // columns, gathered % columns], 1) - places
    assert (distance - torch.tensor([20, -8])).abs().max() <= 1
    assert found.float().mean() > 0.9
    assert fine.key_masks[0].flatten()[gathered[found]].all()


def test_matches_in_an_exemplar_stay_in_it() -> None:
    def layout_with(exemplar: tuple[int, int], height: int, width: int) -> Layout:
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[height // 3 : height // 2, width // 3 : width // 2] = True
        usable = torch.ones(exemplar, dtype=torch.bool)
        layout = lay_out(mask, 1, SIZE, torch.zeros_like(mask), [usable, usable])
        assert layout is not None
        return layout

    coarse, fine = layout_with((24, 30), 40, 52), layout_with((48, 60), 80, 104)
    row, column = 10, 7
    window, first = coarse.key_masks[0].numel(), coarse.key_masks[1].numel()
    index = window + first + row * coarse.key_masks[2].shape[1] + column
    gathered, found = fine.gather(coarse.spread(torch.full_like(coarse.query_position, index)))
    assert found.all()
    local = gathered - fine.key_masks[0].numel() - fine.key_masks[1].numel()
    columns = fine.key_masks[2].shape[1]
    assert ((local // columns) - 2 * row).abs().max() <= 2 and ((local % columns) - 2 * column).abs().max() <= 2


def test_matches_beyond_the_window_stay_inside() -> None:
    coarse, fine = layout_of(40, 52), layout_of(57, 61)
    rows, columns = coarse.key_masks[0].shape
    corner = torch.full_like(coarse.query_position, rows * columns - 1)
    gathered, found = fine.gather(coarse.spread(corner))
    assert gathered.min() >= 0 and gathered.max() < fine.key_masks[0].numel()
    assert found.any()


@pytest.mark.parametrize(("height", "expected"), [(40, "exact"), (700, "patchmatch")])
def test_auto_is_exact_where_that_takes_little_time(height: int, expected: str) -> None:
    search = Searches("auto")("relu3_1", layout_of(height, height), channels=256)
    assert isinstance(search, PatchMatch) == (expected == "patchmatch")


def test_the_names_force_a_search() -> None:
    layout, features = layout_of(40, 50), smooth(40, 50)
    query = hole_of(features, layout)
    index, score = Searches("exact")("relu3_1", layout, 12)(query, [features])
    expected = match_exactly(layout, query, [features])
    assert torch.equal(index, expected[0]) and torch.equal(score, expected[1])
    assert isinstance(Searches("patchmatch")("relu3_1", layout, 12), PatchMatch)


def test_patchmatch_goes_on_from_its_last_matches() -> None:
    layout, features = layout_of(60, 70), smooth(60, 70)
    query = hole_of(features, layout)
    search = PatchMatch(layout, None, seed=0)
    scores = torch.stack([search(query, [features])[1] for _ in range(4)])
    assert (scores.diff(dim=0) >= 0).all()
    _, exact = match_exactly(layout, query, [features])
    assert scores[-1].mean() > 0.97 * exact.mean()


def test_patchmatch_begins_with_the_scale_below() -> None:
    coarse, fine = layout_of(40, 50), layout_of(80, 100)
    small, large = smooth(40, 50), smooth(80, 100)
    index, _ = match_exactly(coarse, hole_of(small, coarse), [small])
    start = PatchMatch(fine, coarse.spread(index), seed=0)._index
    assert fine.key_masks[0].flatten()[start].all()

    def mean_score(index: Tensor) -> float:
        query, mask = hole_of(large, fine), fine.key_masks[0]
        _, score = ops.refine_matches(query, large, fine.query_position, mask, index, SIZE, rounds=0)
        return float(score.mean())

    _, exact = match_exactly(fine, hole_of(large, fine), [large])
    assert mean_score(start) > 0.9 * exact.mean() > mean_score(PatchMatch(fine, None, seed=0)._index)


def test_the_seed_decides() -> None:
    layout, features = layout_of(60, 70), smooth(60, 70)
    query = hole_of(features, layout)
    first, again, other = (PatchMatch(layout, None, seed)(query, [features])[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
