from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

CASES = [  # channels, query height and width, key height and width, size
    (256, 12, 13, 14, 20, 3),
    (5, 9, 40, 30, 11, 3),
    (33, 6, 7, 9, 8, 1),
    (6, 9, 8, 11, 70, 2),
    (16, 14, 13, 15, 16, 5),
    (4, 3, 3, 3, 3, 3),
]


def random_starts(masks: list[Tensor], count: int) -> Tensor:
    selected = torch.cat([mask.flatten() for mask in masks]).nonzero()[:, 0]
    return selected[torch.randint(len(selected), (count,), device=selected.device)]


def problem(case: tuple[int, ...], dtype: torch.dtype, device: torch.device, maps: int = 1) -> tuple:
    """Maps of small whole numbers, whose sums of products are exact in any order."""
    channels, query_height, query_width, height, width, size = case
    query = torch.randint(-2, 3, (channels, query_height, query_width)).to(device, dtype)
    keys = [torch.randint(-2, 3, (channels, height + m, width - m)).to(device, dtype) for m in range(maps)]
    masks = [(torch.rand(k.shape[1] - size + 1, k.shape[2] - size + 1) < 0.7).to(device) for k in keys]
    masks[0][0, 0] = True
    positions = (query_height - size + 1) * (query_width - size + 1)
    position = torch.randperm(positions)[: max(1, 3 * positions // 4)].to(device)
    return query, keys, position, masks, random_starts(masks, len(position)), size


@pytest.mark.parametrize("maps", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_takes_the_same_path_as_the_reference(case, maps, dtype, device):
    if maps > 1 and case[3:] == (3, 3, 3):
        pytest.skip("patches would not fit")
    arguments = problem(case, dtype, device, maps)
    index, score = ops.refine_matches(*arguments, rounds=5, seed=7)
    expected, expected_score = reference.refine_matches(*arguments, rounds=5, seed=7)
    assert torch.equal(index, expected)
    torch.testing.assert_close(score, expected_score, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_the_score_is_the_normalised_correlation(size, dtype, make_map, device):
    query, key = make_map(19, 9, 10, dtype), make_map(19, 12, 11, dtype)
    mask = torch.rand(13 - size, 12 - size).to(device) < 0.5
    position = torch.arange((10 - size) * (11 - size), device=device)
    index, score = ops.refine_matches(query, key, position, mask, random_starts([mask], len(position)), size)
    assert mask.flatten()[index].all()
    queries, keys = (reference.extract_patches(x.double()[None], size)[0] for x in (query, key))
    exact = torch.cosine_similarity(queries[position], keys[index], dim=1)
    torch.testing.assert_close(score.double(), exact, rtol=0, atol=1e-6)


def test_without_rounds_the_start_is_scored(device):
    query, keys, position, masks, start, size = problem(CASES[1], torch.float32, device)
    index, score = ops.refine_matches(query, keys, position, masks, start, size, rounds=0)
    assert torch.equal(index, start)
    queries, patches = (reference.extract_patches(x[None], size)[0] for x in (query, keys[0]))
    torch.testing.assert_close(score, torch.cosine_similarity(queries[position], patches[start], dim=1))


def test_no_round_makes_a_match_worse(device):
    arguments = problem(CASES[0], torch.float32, device)
    scores = [ops.refine_matches(*arguments, rounds=rounds)[1] for rounds in range(6)]
    for worse, better in pairwise(scores):
        assert (better >= worse).all()
        assert better.sum() > worse.sum()


def test_finds_a_shifted_picture(device):
    """One good match spreads: to all queries that moved with it."""
    key = torch.randn(8, 40, 40, device=device)
    query = key[:, 7:37, 5:35]
    mask = torch.ones(38, 38, dtype=torch.bool, device=device)
    position = torch.arange(28 * 28, device=device)
    index, score = ops.refine_matches(query, key, position, mask, random_starts([mask], len(position)), rounds=12)
    expected = (position // 28 + 7) * 38 + position % 28 + 5
    assert torch.equal(index, expected)
    torch.testing.assert_close(score, torch.ones_like(score))


def test_reaches_nearly_the_exact_score_on_smooth_maps(device):
    """As the features of photographs are: what is right for a patch is nearly right beside it."""
    smooth = torch.nn.functional.interpolate(torch.randn(1, 12, 13, 16), (100, 128), mode="bicubic")[0].to(device)
    query, key = smooth[:, 40:70, 50:80], smooth
    mask = torch.ones(98, 126, dtype=torch.bool, device=device)
    mask[34:74, 44:84] = False
    position = torch.arange(28 * 28, device=device)
    start = random_starts([mask], len(position))
    _, score = ops.refine_matches(query, key, position, mask, start, rounds=8)
    _, exact = ops.match_patches(query, key, position, mask)
    _, before = ops.refine_matches(query, key, position, mask, start, rounds=0)
    assert before.mean() < 0.2 * exact.mean()
    assert 0.97 * exact.mean() < score.mean() <= exact.mean() + 1e-6


def test_the_seed_decides(device):
    arguments = problem(CASES[0], torch.float32, device)
    first, _ = ops.refine_matches(*arguments, rounds=2, seed=1)
    assert torch.equal(first, ops.refine_matches(*arguments, rounds=2, seed=1)[0])
    assert not torch.equal(first, ops.refine_matches(*arguments, rounds=2, seed=2)[0])


def test_independent_of_the_number_of_threads(threads):
    arguments = problem((8, 40, 40, 50, 50, 3), torch.float32, torch.device("cpu"))
    results = []
    for count in (1, 3):
        threads(count)
        results.append(ops.refine_matches(*arguments))
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


def test_patches_of_zeros_score_zero(device):
    query, key = torch.zeros(4, 5, 5, device=device), torch.randn(4, 6, 6, device=device)
    key[:, :3, :3] = 0
    mask = torch.ones(4, 4, dtype=torch.bool, device=device)
    position = torch.arange(9, device=device)
    _, score = ops.refine_matches(query, key, position, mask, torch.zeros_like(position))
    assert not score.any()


def test_no_queries(device):
    query, keys, _, masks, _, size = problem(CASES[0], torch.float32, device)
    none = torch.empty(0, dtype=torch.int64, device=device)
    index, score = ops.refine_matches(query, keys, none, masks, none, size)
    assert index.shape == score.shape == (0,)


def test_opcheck(device):
    arguments = problem(CASES[1], torch.float32, device, maps=2)
    torch.library.opcheck(torch.ops.neuralpatch.refine_matches.default, (*arguments, 2, 0))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"query": torch.zeros(5, 9, 40, dtype=torch.int32)}, TypeError, "query must be float32"),
        ({"query": torch.zeros(4, 9, 40)}, ValueError, "equally many channels"),
        ({"query": torch.zeros(9, 40)}, ValueError, "query must have 3 dimensions"),
        ({"key_mask": torch.ones(30, 11, dtype=torch.bool)}, ValueError, r"key_mask must be \[28, 9\]"),
        ({"query_position": torch.tensor([0, 266])}, ValueError, r"query_position\[1\] is 266"),
        ({"query_position": torch.tensor([3, 3])}, ValueError, "3 twice"),
        ({"query_position": torch.tensor([0, 1, 2])}, ValueError, "same shape|start"),
        ({"start": torch.tensor([0, 252])}, ValueError, r"start\[1\] is 252"),
        ({"start": torch.tensor([0, -1])}, ValueError, r"start\[1\] is -1"),
        ({"start": torch.tensor([0, 5])}, ValueError, "which key_mask does not select"),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"size": 12}, ValueError, "do not fit"),
        ({"rounds": -1}, ValueError, "rounds must be at least 0"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"seed": 2**32}, ValueError, "seed must be"),
        ({"key": []}, ValueError, "there must be 1 to 64 keys"),
    ],
)
def test_wrong_arguments(change, error, words):
    mask = torch.ones(28, 9, dtype=torch.bool)
    mask[0, 5] = False
    right = {
        "query": torch.zeros(5, 9, 40),
        "key": torch.zeros(5, 30, 11),
        "query_position": torch.tensor([0, 1]),
        "key_mask": mask,
        "start": torch.tensor([0, 1]),
    }
    ops.refine_matches(**right)
    with pytest.raises(error, match=words):
        ops.refine_matches(**(right | change))
