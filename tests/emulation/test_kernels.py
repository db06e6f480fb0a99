"""Every CUDA kernel, emulated, against its definition in float64, in several thread orders."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from neuralpatch_cuda.ops import reference

from . import reference as ref

# Order of the threads (forward, reverse, shuffled) and what fresh memory holds: NaNs, or large numbers, because a
# comparison may pass over a NaN that it should never have met.
CONDITIONS = ((0, 0xFF), (-1, 0x4B), (7, 0xFF))


def in_all_orders(emulation: ModuleType, call: Callable[[], Any]) -> list[np.ndarray]:
    """The results of `call`, after checking that not a bit depends on thread order and stale memory."""
    results = []
    for order, fresh_byte in CONDITIONS:
        emulation.set_thread_order(order)
        emulation.set_fresh_byte(fresh_byte)
        result = call()
        results.append([np.asarray(part) for part in (result if isinstance(result, tuple) else (result,))])
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert first.tobytes() == second.tobytes(), "the result depends on thread order or stale memory"
    return results[0]


def random(seed: int, *shape: int) -> ref.Doubles:
    return np.random.default_rng(seed).standard_normal(shape)


def assert_rounded(actual: ref.Array, expected: ref.Doubles, dtype: str, scale: float = 1.0) -> None:
    """Equal up to one rounding to `dtype`, and float32 arithmetic on numbers of the size of `scale`."""
    tolerance = 2 * ref.UNIT_ROUNDOFF[dtype] * np.abs(expected) + 2e-6 * scale + 1e-7
    assert actual.shape == expected.shape
    assert np.all(np.abs(ref.decode(actual) - expected) <= tolerance)


# -- extract_patches ---------------------------------------------------------------------------------------

EXTRACT_SHAPES = [  # batch, channels, height, width, size, stride
    (1, 1, 1, 1, 1, 1),
    (2, 3, 7, 9, 3, 1),
    (1, 16, 6, 5, 3, 2),
    (1, 5, 11, 4, 4, 3),
    (2, 8, 5, 5, 5, 1),
    (1, 2, 7, 7, 2, 5),
    (1, 35, 4, 34, 3, 1),
]


@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("shape", EXTRACT_SHAPES)
def test_extract_patches(emulation: ModuleType, shape: tuple[int, ...], dtype: str) -> None:
    *dims, size, stride = shape
    features = ref.encode(random(1, *dims), dtype)
    (patches,) = in_all_orders(emulation, lambda: emulation.extract_patches(features, size, stride))
    np.testing.assert_array_equal(patches, ref.extract_patches(features, size, stride))


@pytest.mark.parametrize("layout", ["channels_last", "sliced", "flipped", "broadcast"])
def test_extract_patches_strides(emulation: ModuleType, layout: str) -> None:
    features = random(2, 2, 4, 9, 8).astype(np.float32)
    if layout == "channels_last":
        features = np.ascontiguousarray(features.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    elif layout == "sliced":
        features = features[:, ::2, 1:8, 2:]
    elif layout == "flipped":
        features = features[:, ::-1, :, ::-1]
    else:
        features = np.broadcast_to(features[:, :1], features.shape)
    (patches,) = in_all_orders(emulation, lambda: emulation.extract_patches(features, 3, 1))
    np.testing.assert_array_equal(patches, ref.extract_patches(features, 3, 1))


@pytest.mark.parametrize("dims", [(0, 3, 5, 5), (1, 0, 5, 5), (1, 3, 2, 5), (1, 3, 5, 0)])
def test_extract_patches_empty(emulation: ModuleType, dims: tuple[int, ...]) -> None:
    features = np.zeros(dims, np.float32)
    patches = emulation.extract_patches(features, 3, 1)
    assert patches.shape == ref.extract_patches(features, 3, 1).shape
    assert patches.size == 0


@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("shape", EXTRACT_SHAPES)
def test_extract_patches_backward(emulation: ModuleType, shape: tuple[int, ...], dtype: str) -> None:
    batch, channels, height, width, size, stride = shape
    count = ref.positions(height, size, stride) * ref.positions(width, size, stride)
    grad = ref.encode(random(3, batch, count, channels * size * size), dtype)
    (actual,) = in_all_orders(
        emulation, lambda: emulation.extract_patches_backward(grad, channels, height, width, size, stride)
    )
    expected = ref.extract_patches_backward(ref.decode(grad), channels, height, width, size, stride)
    assert_rounded(actual, expected, dtype)


def test_extract_patches_backward_without_patches(emulation: ModuleType) -> None:
    grad = np.zeros((1, 0, 27), np.float32)
    np.testing.assert_array_equal(emulation.extract_patches_backward(grad, 3, 2, 5, 3, 1), np.zeros((1, 3, 2, 5)))


# -- match_patches -----------------------------------------------------------------------------------------


VARIANTS = ("tensor_core", "tensor_core_split", "float")


def rounding(variant: str) -> float:
    """What a score may be off by: two terms miss 2^-18 of each factor, and their product's last part another."""
    return 4e-6 if variant != "tensor_core_split" else 3 * 2.0**-18


def match(
    emulation: ModuleType,
    query: ref.Array,
    key: ref.Array,
    position: ref.Array,
    key_mask: ref.Array,
    size: int = 3,
    variant: str = "auto",
    offset: int = 0,
) -> tuple[ref.Array, ref.Array]:
    """(index, score) of one image in one exemplar."""
    arguments = query[None], [key[None]], position, [key_mask[None]], size, variant, offset
    index, score, ran = emulation.match_patches(*arguments)
    assert variant == "auto" or ran == f"{variant}: asked for"
    return index, score


def assert_best(table: ref.Doubles, selected: ref.Array, index: ref.Array, score: ref.Array, tolerance: float) -> None:
    """The scores are the best of the exact ones, and the indices have them. [queries, keys], [queries or 1, keys]."""
    selected = np.broadcast_to(selected, table.shape)
    queries = np.arange(len(index))
    best = np.where(selected, table, -np.inf).max(axis=1)
    assert np.all((index >= 0) & (index < table.shape[1]))
    assert np.all(selected[queries, index]), "a key that is not selected was matched"
    np.testing.assert_allclose(score, best, rtol=0, atol=tolerance)
    np.testing.assert_allclose(table[queries, index], best, rtol=0, atol=tolerance)


def check_match(
    emulation: ModuleType,
    query: ref.Array,
    key: ref.Array,
    position: ref.Array,
    key_mask: ref.Array,
    size: int,
    variant: str = "auto",
    offset: int = 0,
) -> tuple[ref.Array, ref.Array]:
    """Checks the scores, and that the indices have them; returns (index, score)."""
    index, score = in_all_orders(
        emulation, lambda: match(emulation, query, key, position, key_mask, size, variant, offset)
    )
    table = ref.correlations(ref.decode(query), ref.decode(key), size)[position]
    splits = variant == "tensor_core_split" or (variant == "auto" and query.dtype == np.float32)
    assert_best(table, key_mask[None], index, score, rounding("tensor_core_split" if splits else variant))
    return index, score


def select(seed: int, count: int, share: float) -> ref.Array:
    """A random mask with at least one entry set."""
    generator = np.random.default_rng(seed)
    mask = generator.random(count) < share
    mask[generator.integers(count)] = True
    return mask


def elements_for(variant: str) -> str:
    return "float32" if variant == "tensor_core_split" else "float16"


# query height and width, key height and width, size, channels, share of queries, share of keys
MATCH_SHAPES = [
    (1, 1, 1, 1, 1, 1, 1.0, 1.0),
    (3, 3, 3, 3, 3, 16, 1.0, 1.0),
    (3, 3, 9, 14, 3, 32, 1.0, 0.5),
    (12, 17, 13, 11, 3, 48, 1.0, 1.0),
    (25, 9, 10, 30, 3, 16, 0.3, 0.7),
    (5, 80, 6, 70, 3, 16, 1.0, 0.2),
    (20, 6, 7, 150, 3, 16, 0.05, 1.0),
    (9, 10, 11, 12, 3, 20, 0.8, 0.8),
    (9, 10, 11, 12, 2, 5, 0.8, 0.8),
    (9, 13, 11, 12, 4, 3, 0.8, 0.8),
    (10, 9, 12, 9, 5, 7, 0.8, 0.8),
    (10, 9, 9, 9, 6, 4, 0.8, 0.8),
    (12, 8, 9, 13, 7, 17, 0.8, 0.8),
]


@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("shape", MATCH_SHAPES)
def test_match_patches(emulation: ModuleType, shape: tuple[Any, ...], dtype: str) -> None:
    query_height, query_width, key_height, key_width, size, channels, query_share, key_share = shape
    query = ref.encode(random(4, query_height, query_width, channels), dtype)
    key = ref.encode(random(5, key_height, key_width, channels), dtype)
    queries = ref.positions(query_height, size) * ref.positions(query_width, size)
    keys = ref.positions(key_height, size) * ref.positions(key_width, size)
    position = np.flatnonzero(select(6, queries, query_share))
    check_match(emulation, query, key, position, select(7, keys, key_share), size)


@pytest.mark.parametrize(
    ("dtype", "variant"),
    [
        ("float32", "float"),
        ("float32", "tensor_core_split"),
        ("float16", "float"),
        ("float16", "tensor_core"),
        ("bfloat16", "float"),
        ("bfloat16", "tensor_core"),
    ],
)
@pytest.mark.parametrize("capability", [80, 90])
def test_match_patches_hole(emulation: ModuleType, dtype: str, variant: str, capability: int) -> None:
    """A hole in the middle of one map, as in inpainting, by every variant."""
    emulation.set_compute_capability(capability)
    height, width, channels = 24, 26, 32
    features = ref.encode(random(8, height, width, channels), dtype)
    known = np.ones((height - 2, width - 2), bool)
    known[6:16, 8:18] = False
    hole = np.flatnonzero(~known)
    check_match(emulation, features, features, hole, known.ravel(), 3, variant)


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("variant", VARIANTS)
def test_match_patches_variants_agree(emulation: ModuleType, variant: str, capability: int) -> None:
    """Products of small integers are exact, so all variants must give the same bits."""
    emulation.set_compute_capability(capability)
    generator = np.random.default_rng(9)
    query = generator.integers(-3, 4, (15, 16, 48)).astype(elements_for(variant))
    key = generator.integers(-3, 4, (14, 19, 48)).astype(elements_for(variant))
    position, mask = np.arange(13 * 14), select(10, 12 * 17, 0.5)
    result = match(emulation, query, key, position, mask, variant=variant)
    expected = match(emulation, query.astype(np.float32), key.astype(np.float32), position, mask, variant="float")
    np.testing.assert_array_equal(result[0], expected[0])
    np.testing.assert_array_equal(result[1], expected[1])


def test_match_patches_split_is_as_exact_as_asked(emulation: ModuleType) -> None:
    """float32 features like a network's, as bfloat16 terms: the arg-max of float64, at 1e-3 of its score or better."""
    maps = [np.maximum(random(seed, 22, 22, 64), 0).astype(np.float32) for seed in (30, 31)]
    position, mask = np.arange(400), np.ones(400, bool)
    index, score = match(emulation, *maps, position, mask, variant="tensor_core_split")
    table = ref.correlations(maps[0].astype(float), maps[1].astype(float), 3)
    assert np.mean(index == table.argmax(axis=1)) >= 0.999
    assert np.all(table[position, index] >= (1 - 1e-3) * table.max(axis=1))
    np.testing.assert_allclose(score, table.max(axis=1), rtol=0, atol=rounding("tensor_core_split"))
    rounded = [ref.encode(m, "bfloat16") for m in maps]
    _, one_term = match(emulation, *rounded, position, mask, variant="tensor_core")
    errors = [np.abs(scores - table.max(axis=1)).max() for scores in (score, one_term)]
    assert errors[1] > 20 * errors[0], "the second term adds nothing"


@pytest.mark.parametrize("channels", [3, 32])
def test_match_patches_unaligned(emulation: ModuleType, channels: int) -> None:
    for dtype in (np.float16, np.float32):
        query, key = (random(s, 6, 7, channels).astype(dtype) for s in (11, 12))
        check_match(emulation, query, key, np.arange(20), np.ones(20, bool), 3, offset=1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_match_patches_ties(emulation: ModuleType, variant: str) -> None:
    """A periodic key map: every best match has equals; the first selected one must be given."""
    key = np.tile(random(13, 4, 5, 16), (4, 6, 1)).astype(elements_for(variant))
    query = key[:6, :7]
    columns = 30 - 2
    mask = np.ones((14, columns), bool)
    mask[0:2] = False
    index, score = check_match(emulation, query, key, np.arange(20), mask.ravel(), 3, variant)
    rows, query_columns = np.divmod(np.arange(20), 5)
    expected = np.where(rows < 2, rows + 4, rows) * columns + query_columns
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_allclose(score, 1, rtol=0, atol=rounding(variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_match_patches_zero_norms(emulation: ModuleType, variant: str) -> None:
    dtype = elements_for(variant)
    query, key = np.zeros((5, 6, 16), dtype), np.zeros((7, 8, 16), dtype)
    key[4:] = -1
    query[:, 3:] = 1
    mask = np.ones(30, bool)
    mask[:3] = False
    index, score = check_match(emulation, query, key, np.arange(12), mask, 3, variant)
    np.testing.assert_array_equal(index, 3)  # every score is 0 or negative: the first selected key, of norm 0
    np.testing.assert_array_equal(score, 0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_match_patches_not_a_number(emulation: ModuleType, variant: str) -> None:
    """Whatever the features hold, the index is one of a selected key."""
    dtype = elements_for(variant)
    query, key = np.full((4, 4, 16), np.nan, dtype), random(14, 5, 5, 16).astype(dtype)
    mask = np.arange(9) >= 4
    index, score = match(emulation, query, key, np.arange(4), mask, variant=variant)
    np.testing.assert_array_equal(index, 4)
    assert np.all(np.isnan(score))


def test_match_patches_without_queries(emulation: ModuleType) -> None:
    query = np.zeros((4, 4, 16), np.float32)
    index, score = match(emulation, query, query, np.zeros(0, np.int64), np.ones(4, bool))
    assert index.shape == score.shape == (0,)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shared", [True, False])
def test_match_patches_of_images_and_exemplars(emulation: ModuleType, variant: str, shared: bool) -> None:
    """Several images, with queries in different places, in several exemplars, of which some are all images'."""
    dtype, channels, images = elements_for(variant), 16, 3
    query = random(32, images, 8, 9, channels).astype(dtype)
    extents = [(6, 7), (12, 40), (3, 3)]
    keys = [
        random(33 + e, 1 if shared and e != 1 else images, *extent, channels).astype(dtype)
        for e, extent in enumerate(extents)
    ]
    counts = [(height - 2) * (width - 2) for height, width in extents]
    generator = np.random.default_rng(36)
    masks = [generator.random((1 if shared and e == 2 else images, n)) < 0.6 for e, n in enumerate(counts)]
    masks[2][:] = True
    masks[0][0] = False  # nothing for the first image in the first exemplar
    chosen = generator.random((images, 42)) < 0.5
    chosen[1] = False
    position = np.flatnonzero(chosen)
    index, score, _ = in_all_orders(
        emulation, lambda: emulation.match_patches(query, keys, position, masks, 3, variant)
    )
    for image in range(images):
        own = [key[image % len(key)].astype(float) for key in keys]
        table = np.hstack([ref.correlations(query[image].astype(float), key, 3) for key in own])
        selected = np.concatenate([mask[image % len(mask)] for mask in masks])
        mine = position // 42 == image
        assert_best(table[position[mine] % 42], selected[None], index[mine], score[mine], rounding(variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_match_patches_ties_between_exemplars(emulation: ModuleType, variant: str) -> None:
    """Many equal exemplars, more than are stored at once: the first with a selected key must be given."""
    key = random(37, 1, 4, 5, 16).astype(elements_for(variant))
    masks = [np.zeros((1, 6), bool) for _ in range(60)]
    masks[30][:] = masks[50][:] = masks[59][:] = True
    index, score, _ = emulation.match_patches(key, [key] * 60, np.arange(6), masks, 3, variant)
    np.testing.assert_array_equal(index, 30 * 6 + np.arange(6))
    np.testing.assert_allclose(score, 1, rtol=0, atol=rounding(variant))


def test_match_patches_without_keys(emulation: ModuleType) -> None:
    """Nothing can be raised without waiting: such queries get index 0 and NaN, and the other images theirs."""
    query = random(38, 2, 4, 5, 3).astype(np.float32)
    masks = [np.zeros((2, 6), bool), np.zeros((2, 6), bool)]
    masks[1][1] = True
    index, score, _ = emulation.match_patches(query, [query, query], np.arange(12), masks, 3)
    np.testing.assert_array_equal(index, [0] * 6 + list(range(6, 12)))
    assert np.all(np.isnan(score[:6]))
    np.testing.assert_allclose(score[6:], 1, rtol=0, atol=rounding("tensor_core_split"))


def test_match_patches_out_of_range(emulation: ModuleType) -> None:
    """Positions outside the maps are not followed into memory."""
    query = random(39, 4, 5, 3).astype(np.float32)
    position = np.array([-(2**40), -1, 2, 6, 2**40])
    index, score = match(emulation, query, query, position, np.ones(6, bool))
    np.testing.assert_array_equal(index, [0, 0, 2, 0, 0])
    np.testing.assert_array_equal(np.isnan(score), [True, True, False, True, True])


# dtype, size, channels, compute capability, offset of the features; the variant that runs
CHOICES = [
    ("float16", 3, 16, 80, 0, "tensor_core: preferred"),
    ("float32", 3, 5, 80, 0, "tensor_core_split: not tensor_core, as it takes bfloat16 or float16 features, not"),
    ("float16", 3, 20, 90, 0, "float: not tensor_core, as it takes a multiple of 16 channels, not 20; not tensor_co"),
    ("bfloat16", 3, 16, 75, 0, "float: not tensor_core, as it needs compute capability 8.0; not tensor_core_split"),
    ("float16", 3, 16, 80, 1, "float: not tensor_core, as it takes features that begin at a multiple of 16 bytes"),
    ("float32", 5, 16, 80, 0, "float: not tensor_core, as"),
]


@pytest.mark.parametrize(("dtype", "size", "channels", "capability", "offset", "expected"), CHOICES)
def test_match_patches_chooses_a_variant(
    emulation: ModuleType, dtype: str, size: int, channels: int, capability: int, offset: int, expected: str
) -> None:
    emulation.set_compute_capability(capability)
    query = ref.encode(random(40, 1, size, size, channels), dtype)
    *_, ran = emulation.match_patches(query, [query], np.arange(1), [np.ones((1, 1), bool)], size, offset=offset)
    assert ran.startswith(expected)


@pytest.mark.parametrize(
    ("dtype", "size", "capability", "variant", "message"),
    [
        ("float32", 3, 90, "tensor_core", "'tensor_core' cannot run: it takes bfloat16 or float16 features"),
        ("float16", 3, 90, "tensor_core_split", "'tensor_core_split' cannot run: it takes float32 features"),
        ("float32", 2, 90, "tensor_core_split", "it takes patches of size 3, not 2"),
        ("float32", 3, 75, "tensor_core_split", "it needs compute capability 8.0"),
        ("float32", 8, 90, "float", "'float' cannot run: it takes patches of size 1 to 7, not 8"),
        ("float32", 8, 90, "auto", "no variant can run: .*; not float, as it takes patches of size 1 to 7, not 8"),
        ("float32", 3, 90, "wgmma", "variant must be 'auto', 'tensor_core', 'tensor_core_split' or 'float' on this"),
    ],
)
def test_match_patches_rejects_a_variant(
    emulation: ModuleType, dtype: str, size: int, capability: int, variant: str, message: str
) -> None:
    emulation.set_compute_capability(capability)
    query = np.zeros((9, 9, 16), dtype)
    with pytest.raises(ValueError, match=message):
        match(emulation, query, query, np.arange(4), np.ones(4, bool), size, variant)


# -- refine_matches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize(("channels", "size", "offset"), [(1, 1, 0), (5, 3, 0), (16, 3, 0), (16, 3, 1), (40, 2, 0)])
def test_refine_matches(emulation: ModuleType, channels: int, size: int, offset: int, dtype: str) -> None:
    """Takes the path of the reference, on whole numbers, whose sums of products are exact in any order."""
    generator = np.random.default_rng(50)
    extents = [(9, 14), (6, 5), (20, 7)]
    query, *keys = (ref.encode(generator.integers(-2, 3, (*e, channels)), dtype) for e in ((8, 10), *extents))
    masks = [generator.random((h - size + 1) * (w - size + 1)) < 0.7 for h, w in extents]
    selected = np.flatnonzero(np.concatenate(masks))
    position = generator.permutation((9 - size) * (11 - size))[:37]
    start = generator.choice(selected, len(position))
    arguments = position, masks, start, size
    index, score = in_all_orders(
        emulation, lambda: emulation.refine_matches(query, keys, *arguments, rounds=5, seed=3, offset=offset)
    )
    maps = [torch.from_numpy(ref.decode(x)).float().permute(2, 0, 1) for x in (query, *keys)]
    grids = [m.reshape(h - size + 1, w - size + 1) for m, (h, w) in zip(masks, extents, strict=True)]
    expected, expected_score = reference.refine_matches(
        maps[0],
        maps[1:],
        torch.from_numpy(position),
        [torch.from_numpy(grid) for grid in grids],
        torch.from_numpy(start),
        size,
        rounds=5,
        seed=3,
    )
    np.testing.assert_array_equal(index, expected.numpy())
    np.testing.assert_allclose(score, expected_score.numpy(), rtol=1e-6, atol=1e-6)


def test_refine_matches_without_rounds_or_queries(emulation: ModuleType) -> None:
    key = random(51, 6, 7, 8).astype(np.float32)
    everywhere, mask = np.arange(20), [np.ones(20, bool)]
    index, score = emulation.refine_matches(key, [key], everywhere, mask, everywhere, 3, 0)
    np.testing.assert_array_equal(index, everywhere)
    np.testing.assert_allclose(score, 1, rtol=1e-6)
    index, _ = emulation.refine_matches(key, [key], everywhere[:0], mask, everywhere[:0], 3, 2)
    assert len(index) == 0


# -- vote_patches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 16, 40])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_vote_patches(emulation: ModuleType, size: int, channels: int, dtype: str) -> None:
    height, width, key_height, key_width = 9, 11, 7, 8
    key = ref.encode(random(15, key_height, key_width, channels), dtype)
    position = np.random.default_rng(16).permutation((height - size + 1) * (width - size + 1))[:31]
    index = np.random.default_rng(17).integers(0, (key_height - size + 1) * (key_width - size + 1), len(position))
    target, count = in_all_orders(
        emulation, lambda: emulation.vote_patches([key], position, index, size, height, width)
    )
    expected, expected_count = ref.vote_patches(ref.decode(key), position, index, size, height, width)
    np.testing.assert_array_equal(count, expected_count)
    assert_rounded(target, expected, dtype)


@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("channels", [3, 16])
def test_vote_patches_several_maps(emulation: ModuleType, channels: int, dtype: str) -> None:
    """Maps of different sizes; the expected sums are those of one map with all patches of all maps."""
    keys = [ref.encode(random(40 + i, *extent, channels), dtype) for i, extent in enumerate([(5, 6), (3, 3), (4, 9)])]
    patches = [ref.extract_patches(key.transpose(2, 0, 1)[None], 3, 1)[0] for key in keys]
    joined = np.concatenate(patches).reshape(-1, channels, 3, 3).transpose(2, 0, 3, 1).reshape(3, -1, channels)
    position = np.random.default_rng(44).permutation(7 * 8)[:40]
    index = np.random.default_rng(45).integers(0, sum(map(len, patches)), len(position))
    target, count = in_all_orders(emulation, lambda: emulation.vote_patches(keys, position, index, 3, 9, 10))
    expected, expected_count = ref.vote_patches(ref.decode(joined), position, 3 * index, 3, 9, 10)
    np.testing.assert_array_equal(count, expected_count)
    assert_rounded(target, expected, dtype)


def test_vote_patches_unaligned(emulation: ModuleType) -> None:
    key = random(18, 5, 6, 8).astype(np.float32)
    position, index = np.arange(12), np.arange(12)[::-1].copy()
    target, count = emulation.vote_patches([key], position, index, 3, 5, 6, offset=1)
    expected, expected_count = ref.vote_patches(key, position, index, 3, 5, 6)
    np.testing.assert_array_equal(count, expected_count)
    assert_rounded(target, expected, "float32")


@pytest.mark.parametrize("extent", [(4, 5), (2, 5), (1, 1)])
def test_vote_patches_without_matches(emulation: ModuleType, extent: tuple[int, int]) -> None:
    none = np.zeros(0, np.int64)
    target, count = emulation.vote_patches([np.ones((5, 5, 4), np.float32)], none, none, 3, *extent)
    assert not target.any() and not count.any()


# -- texture_loss ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize(("pixels", "channels"), [(1, 1), (7, 3), (33, 24), (130, 16), (5, 300), (2050, 8)])
def test_texture_loss(emulation: ModuleType, pixels: int, channels: int, dtype: str) -> None:
    features, target = (ref.encode(random(s, pixels, channels), dtype) for s in (19, 20))
    count = np.random.default_rng(21).integers(0, 4, pixels).astype(np.float32)
    loss, gradient = in_all_orders(emulation, lambda: emulation.texture_loss(features, target, count))
    expected, slope = ref.texture_loss(ref.decode(features), ref.decode(target), count)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert_rounded(gradient, slope, dtype)
    assert emulation.texture_loss(features, target, count, with_gradient=False) == loss


def test_texture_loss_ignores_pixels_without_patches(emulation: ModuleType) -> None:
    features, target = random(22, 6, 8).astype(np.float32), random(23, 6, 8).astype(np.float32)
    count = np.array([1, 0, 2, 0, 0, 1], np.float32)
    expected, slope = ref.texture_loss(features.astype(float), target.astype(float), count)
    target[count == 0] = np.nan
    loss, gradient = emulation.texture_loss(features, target, count, offset=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert_rounded(gradient, slope, "float32")


@pytest.mark.parametrize(("pixels", "channels"), [(0, 4), (4, 0)])
def test_texture_loss_empty(emulation: ModuleType, pixels: int, channels: int) -> None:
    empty = np.zeros((pixels, channels), np.float32)
    loss, gradient = emulation.texture_loss(empty, empty, np.zeros(pixels, np.float32))
    assert loss == 0
    assert gradient.size == 0


# -- total_variation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (3, 1, 9), (2, 8, 1), (3, 13, 17), (1, 40, 33), (2, 7, 24), (1, 1, 8), (3, 9, 8)]
)
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_total_variation(emulation: ModuleType, shape: tuple[int, int, int], share: float, dtype: str) -> None:
    x = ref.encode(random(24, *shape), dtype)
    mask = np.random.default_rng(25).random(shape[1:]) < share
    loss, gradient = in_all_orders(emulation, lambda: emulation.total_variation(x, mask))
    expected, slope = ref.total_variation(ref.decode(x), mask)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert_rounded(gradient, slope, dtype)
    assert emulation.total_variation(x, mask, with_gradient=False) == loss


@pytest.mark.parametrize("shape", [(0, 3, 3), (3, 0, 3), (3, 3, 0)])
def test_total_variation_empty(emulation: ModuleType, shape: tuple[int, int, int]) -> None:
    loss, gradient = emulation.total_variation(np.zeros(shape, np.float32), np.zeros(shape[1:], bool))
    assert loss == 0
    assert gradient.size == 0


# -- device ------------------------------------------------------------------------------------------------


def test_device_count(emulation: ModuleType) -> None:
    assert emulation.device_count() == 1
