from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

CASES = [  # channels, query height and width, key height and width, size
    (256, 20, 21, 24, 30, 3),
    (64, 12, 9, 33, 40, 3),
    (7, 9, 11, 8, 13, 3),
    (3, 5, 230, 6, 300, 3),  # rows longer than a block
    (5, 70, 4, 81, 5, 3),  # more rows than a strip
    (4, 3, 3, 3, 3, 3),  # one position
    (1, 1, 1, 1, 1, 1),
    (9, 6, 7, 9, 8, 1),
    (6, 9, 8, 11, 10, 2),
    (6, 14, 13, 15, 16, 5),
    (2, 45, 44, 50, 150, 41),  # a halo of more than a vector
]

SPLIT = 3 * 2**-18
"""Of a score, at most what CUDA's split of float32 into two bfloat16 terms leaves out."""


def random_mask(height: int, width: int, size: int, share: float, device: torch.device) -> Tensor:
    mask = torch.rand(height - size + 1, width - size + 1) < share
    mask[torch.randint(mask.shape[0], ()), torch.randint(mask.shape[1], ())] = True
    return mask.to(device)


def correlation(query: Tensor, key: Tensor, query_mask: Tensor, size: int) -> Tensor:
    """Normalised cross-correlation of the selected queries with every key position, in float64."""
    queries = reference.extract_patches(query.double()[None], size)[0][query_mask.flatten()]
    keys = reference.extract_patches(key.double()[None], size)[0]
    norms = queries.norm(dim=1, keepdim=True) * keys.norm(dim=1)
    return torch.where(norms == 0, 0, queries @ keys.T / norms)


def check(query: Tensor, key: Tensor, query_mask: Tensor, key_mask: Tensor, size: int, **options: str) -> None:
    index, score = ops.match_patches(query, key, query_mask, key_mask, size, **options)
    assert index.dtype == torch.int64
    assert score.dtype == torch.float32
    assert index.shape == score.shape == (int(query_mask.sum()),)
    assert bool(key_mask.flatten()[index].all())
    if options.get("precision") == "bf16":
        query, key = query.bfloat16(), key.bfloat16()
    exact = correlation(query, key, query_mask, size)
    best = exact.masked_fill(~key_mask.flatten(), -2).amax(1)
    achieved = exact.gather(1, index[:, None])[:, 0]
    # The operator accumulates in float32 whatever the inputs, so it is held to torch's error in float32.
    torch_index, torch_score = reference.match_patches(query.float(), key.float(), query_mask, key_mask, size)
    torch_error = (torch_score - exact.gather(1, torch_index[:, None])[:, 0]).abs().max()
    tolerance = 4 * torch_error + 2e-7
    if query.is_cuda and query.dtype == torch.float32:
        tolerance += SPLIT
    assert (score - achieved).abs().max() <= tolerance
    # An inexact score may only ever prefer a key that is as good as the best within that error.
    assert (best - achieved).max() <= 2 * tolerance


@pytest.mark.parametrize("case", CASES)
def test_matches_reference(case, dtype, make_map, device):
    channels, query_height, query_width, key_height, key_width, size = case
    if device.type == "cuda" and size > 7:
        pytest.skip("CUDA takes patches of up to 7 pixels")
    query = make_map(channels, query_height, query_width, dtype)
    key = make_map(channels, key_height, key_width, dtype)
    query_mask = random_mask(query_height, query_width, size, 0.4, device)
    key_mask = random_mask(key_height, key_width, size, 0.6, device)
    check(query, key, query_mask, key_mask, size)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision(precision, dtype, device):
    query, key = torch.randn(33, 9, 10).to(device, dtype), torch.randn(33, 11, 12).to(device, dtype)
    masks = random_mask(9, 10, 3, 0.5, device), random_mask(11, 12, 3, 0.5, device)
    check(query, key, *masks, 3, precision=precision)


def test_hole_and_surroundings(device):
    """As in inpainting: queries inside a hole, keys around it, in one map."""
    features = torch.randn(24, 40, 56, device=device)
    hole = torch.zeros(38, 54, dtype=torch.bool, device=device)
    hole[10:28, 15:40] = True
    rim = torch.zeros_like(hole)
    rim[8:30, 13:42] = True
    check(features, features, hole, ~rim, 3)


def test_finds_copies(device):
    """Every patch is found where it was copied from, with a score of 1."""
    key = torch.randn(16, 30, 40, device=device)
    query = key[:, 5:20, 8:30]
    index, score = ops.match_patches(
        query,
        key,
        torch.ones(13, 20, dtype=torch.bool, device=device),
        torch.ones(28, 38, dtype=torch.bool, device=device),
    )
    rows, columns = torch.meshgrid(torch.arange(5, 18), torch.arange(8, 28), indexing="ij")
    assert torch.equal(index.cpu(), (rows * 38 + columns).flatten())
    torch.testing.assert_close(score, torch.ones_like(score), rtol=0, atol=1e-6 if device.type == "cpu" else SPLIT)


def test_ties_go_to_the_lowest_index(dtype, device):
    tile = torch.randn(8, 7, 5).to(device, dtype)
    key = tile.repeat(1, 6, 40)  # rows longer than a block, and every patch many times
    key_mask = torch.ones(40, 198, dtype=torch.bool, device=device)
    key_mask[:3] = False
    query = key[:, :12, :12]
    index, _ = ops.match_patches(query, key, torch.ones(10, 10, dtype=torch.bool, device=device), key_mask)
    rows, columns = torch.meshgrid(torch.arange(10), torch.arange(10), indexing="ij")
    rows, columns = rows % 7, columns % 5
    rows = torch.where(rows < 3, rows + 7, rows)
    assert torch.equal(index.cpu(), (rows * 198 + columns).flatten())


def test_constant_maps_tie_everywhere(device):
    query, key = torch.ones(4, 9, 9, device=device), torch.ones(4, 20, 150, device=device)
    key_mask = torch.ones(18, 148, dtype=torch.bool, device=device)
    key_mask[0, :5] = False
    index, score = ops.match_patches(query, key, torch.ones(7, 7, dtype=torch.bool, device=device), key_mask)
    assert index.unique().tolist() == [5]
    torch.testing.assert_close(score, torch.ones_like(score))


def test_zero_norms_score_zero(device):
    query, key = torch.randn(4, 8, 8, device=device), torch.zeros(4, 9, 9, device=device)
    query[:, :, :4] = 0
    masks = [torch.ones(n, n, dtype=torch.bool, device=device) for n in (6, 7)]
    masks[1][0, 0] = False
    index, score = ops.match_patches(query, key, *masks)
    assert index.unique().tolist() == [1]
    assert not score.any()
    # A zero patch is better than a dissimilar one, and worse than a similar one.
    key[:, 6:, 6:] = -query[:, 2:5, 5:]
    index, score = ops.match_patches(query, key, *masks)
    assert (score >= 0).all()
    key = torch.randn(4, 9, 9, device=device)
    index, score = ops.match_patches(query, key, *masks)
    zero = torch.zeros(6, 6, dtype=torch.bool)
    zero[:, :2] = True
    assert not score.cpu()[zero.flatten()].any()
    assert index.cpu()[zero.flatten()].unique().tolist() == [1]


def test_nan_never_wins(device):
    query, key = torch.randn(4, 8, 8, device=device), torch.randn(4, 9, 9, device=device)
    key[:, 4, 4] = torch.nan
    masks = [torch.ones(n, n, dtype=torch.bool, device=device) for n in (6, 7)]
    index, score = ops.match_patches(query, key, *masks)
    assert not score.isnan().any()
    without = masks[1].clone()
    without[2:5, 2:5] = False
    expected_index, expected_score = ops.match_patches(query, key.nan_to_num(), masks[0], without)
    assert torch.equal(index, expected_index)
    assert torch.equal(score, expected_score)


def test_no_queries(device):
    empty = torch.zeros(4, 4, dtype=torch.bool, device=device)
    features = torch.randn(3, 6, 6, device=device)
    for key_mask in (empty, ~empty):
        index, score = ops.match_patches(features, features, empty, key_mask)
        assert index.shape == score.shape == (0,)


def test_no_keys(device):
    """The CPU says so; CUDA cannot know without waiting."""
    empty = torch.zeros(2, 4, 4, dtype=torch.bool, device=device)
    some = empty.clone()
    some[1] = True
    features = torch.randn(2, 3, 6, 6, device=device)
    if device.type == "cpu":
        with pytest.raises(ValueError, match="key_mask selects no patch"):
            ops.match_patches(features, [features, features], ~empty, [empty, some])
    else:
        index, score = ops.match_patches(features, [features, features], ~empty, [empty, some])
        assert index[:16].tolist() == [0] * 16
        assert bool(score[:16].isnan().all())
        assert index[16:].tolist() == list(range(16, 32))
    # An image without queries needs no key.
    index, _ = ops.match_patches(features, features, some, some)
    assert index.tolist() == list(range(16))


def test_same_bytes_for_any_threads(dtype, threads):
    query, key = torch.randn(32, 40, 130).to(dtype), torch.randn(32, 60, 200).to(dtype)
    masks = [random_mask(*m.shape[1:], 3, 0.7, torch.device("cpu")) for m in (query, key)]
    results = []
    for count in (1, 2, 3, 2):
        threads(count)
        results.append(ops.match_patches(query, key, *masks))
    for index, score in results[1:]:
        assert torch.equal(index, results[0][0])
        assert torch.equal(score, results[0][1])


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "avx512bf16"])
def test_every_instruction_set(isa, tmp_path):
    script = """
import sys, torch
from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference
torch.manual_seed(0)
query, key = torch.randn(19, 13, 17), torch.randn(19, 15, 140)
masks = torch.rand(11, 15) < 0.5, torch.rand(13, 138) < 0.7
index, score = ops.match_patches(query, key, *masks)
expected, _ = reference.match_patches(query.double(), key.double(), *masks)
assert torch.equal(index, expected)
# Products of bfloat16 values are exact in float32: the instruction sets differ in the sums' order only.
index, score = ops.match_patches(query.bfloat16(), key.bfloat16(), *masks)
expected, expected_score = reference.match_patches(query.bfloat16().double(), key.bfloat16().double(), *masks)
assert torch.equal(index, expected)
torch.testing.assert_close(score.double(), expected_score, rtol=1e-6, atol=1e-6)
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    close = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 1e-5}
    features, target = torch.randn(2, 75, 5, 7).to(dtype).unbind()
    weight = torch.rand(5, 7)
    loss, gradient = ops.texture_loss_and_gradient(features, target, weight)
    torch.testing.assert_close(loss, reference.texture_loss(features, target, weight))
    torch.testing.assert_close(gradient, (2 * weight * (features.float() - target.float())).to(dtype), **close)
    x, mask = torch.randn(3, 9, 85).to(dtype).requires_grad_(), torch.rand(9, 85) < 0.5
    torch.testing.assert_close(ops.total_variation(x, mask), reference.total_variation(x, mask))
    pair = [torch.autograd.grad(f.total_variation(x.float(), mask), x)[0].to(dtype) for f in (ops, reference)]
    torch.testing.assert_close(*pair, **close)
    place, taken = torch.randperm(15)[:9], torch.randint(15, (9,))
    votes = [f.vote_patches(features, place, taken, 3, 5, 7)[0] for f in (ops, reference)]
    torch.testing.assert_close(*votes, **close)
print(ops.build_info()["cpu_isa"])
"""
    environment = {**os.environ, "NEURALPATCH_CPU_ISA": isa}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    if run.stdout.strip() != isa:
        pytest.skip(f"this machine has no {isa}")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_does_not_grow_with_the_keys(dtype, tmp_path):
    """No copy of the key map, of 80 or 40 MB here, is held."""
    script = f"""
import resource, torch
from neuralpatch_cuda import ops
torch.manual_seed(0)
query, key = (torch.randn(height, width, 256, dtype=torch.{dtype}) for height, width in ((8, 9), (40, 2000)))
def match(query, key):
    masks = (torch.ones(m.shape[0] - 2, m.shape[1] - 2, dtype=torch.bool) for m in (query, key))
    ops.match_patches(query.permute(2, 0, 1), key.permute(2, 0, 1), *masks)
match(query, query)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
match(query, key)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 24 * 1024


def random_batch(device: torch.device, shared: bool) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
    """Three images with queries in different places and three exemplars, of which some are all images'."""
    images, extents = 3, [(6, 7), (12, 40), (3, 3)]
    query = torch.randn(images, 8, 8, 9, device=device)
    keys = [
        torch.randn(1 if shared and e != 1 else images, 8, *extent, device=device) for e, extent in enumerate(extents)
    ]
    key_masks = [
        torch.rand(1 if shared and e == 2 else images, height - 2, width - 2, device=device) < 0.6
        for e, (height, width) in enumerate(extents)
    ]
    key_masks[2][:] = True
    key_masks[0][0] = False  # nothing for the first image in the first exemplar
    query_mask = torch.rand(images, 6, 7, device=device) < 0.5
    query_mask[1] = False
    return query, keys, query_mask, key_masks


@pytest.mark.parametrize("shared", [True, False])
def test_images_and_exemplars(shared, device):
    query, keys, query_mask, key_masks = random_batch(device, shared)
    index, score = ops.match_patches(query, keys, query_mask, key_masks)
    expected_index, expected_score = reference.match_patches(
        query.double(), [key.double() for key in keys], query_mask, key_masks
    )
    assert torch.equal(index, expected_index)
    torch.testing.assert_close(score, expected_score.float(), rtol=0, atol=4e-6)


def test_one_image_of_a_batch(device):
    """A batch gives each image what it gets alone."""
    query, keys, query_mask, key_masks = random_batch(device, shared=False)
    batch = ops.match_patches(query, keys, query_mask, key_masks)
    alone = [
        ops.match_patches(query[b], [key[b] for key in keys], query_mask[b], [mask[b] for mask in key_masks])
        for b in range(3)
    ]
    for together, parts in zip(batch, zip(*alone, strict=True), strict=True):
        assert torch.equal(together, torch.cat(parts))


def test_positions_instead_of_a_mask(device):
    query, keys, query_mask, key_masks = random_batch(device, shared=True)
    position = query_mask.flatten().nonzero()[:, 0]
    expected = ops.match_patches(query, keys, query_mask, key_masks)
    for function in (ops.match_patches, reference.match_patches):
        index, score = function(query, keys, position, key_masks)
        assert torch.equal(index, expected[0])
        torch.testing.assert_close(score, expected[1])


def test_ties_between_exemplars_go_to_the_first(dtype, device):
    key = torch.randn(8, 6, 7, device=device).to(dtype)
    some, none = torch.ones(4, 5, dtype=torch.bool, device=device), torch.zeros(4, 5, dtype=torch.bool, device=device)
    index, score = ops.match_patches(key, [key, key, key], some, [none, some, some])
    assert torch.equal(index.cpu(), 20 + torch.arange(20))
    torch.testing.assert_close(score, torch.ones_like(score))


def test_a_number_wins_over_nan_of_another_exemplar(device):
    query = torch.randn(4, 5, 5, device=device)
    masks = [torch.ones(3, 3, dtype=torch.bool, device=device)] * 3
    exemplars = [torch.full_like(query, torch.nan), query, torch.full_like(query, torch.nan)]
    index, score = ops.match_patches(query, exemplars, masks[0], masks)
    assert torch.equal(index.cpu(), 9 + torch.arange(9))
    torch.testing.assert_close(score, torch.ones_like(score))
    index, score = ops.match_patches(query, exemplars[::2], masks[0], masks[:2])
    assert index.unique().tolist() == [0]
    assert bool(score.isnan().all())


def test_large_and_small_pairs(device):
    """A pair large enough to be divided among the threads, between two that are not."""
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(64, 40, 40, generator=generator).to(device)
    keys = [torch.randn(64, side, side, generator=generator).to(device) for side in (9, 50, 20)]
    ones = [torch.ones(m.shape[1] - 2, m.shape[2] - 2, dtype=torch.bool, device=device) for m in (query, *keys)]
    index, score = ops.match_patches(query, keys, ones[0], ones[1:])
    expected, expected_score = reference.match_patches(query.double(), [k.double() for k in keys], ones[0], ones[1:])
    assert (index == expected).float().mean() >= 0.999
    torch.testing.assert_close(score, expected_score.float(), rtol=0, atol=2e-6)


def run_on_cpu(variant, query, key, query_mask, key_mask):
    if variant == "bfloat16" and ops.build_info()["cpu_isa"] != "avx512bf16":
        pytest.skip("this machine has no AVX512-BF16")
    return ops.match_patches(query, key, query_mask, key_mask, variant=variant)


CPU_VARIANTS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@pytest.mark.parametrize("variant", CPU_VARIANTS)
def test_accuracy_of_every_variant(variant):
    """At a realistic size: the arg-max of float64 on 99.9 % of the queries, and no score more than 1e-3 worse."""
    query, key = torch.randn(256, 34, 34).relu(), torch.randn(256, 52, 62).relu()
    query, key = query.to(CPU_VARIANTS[variant]), key.to(CPU_VARIANTS[variant])
    query_mask = torch.ones(32, 32, dtype=torch.bool)
    key_mask = torch.ones(50, 60, dtype=torch.bool)
    index, score = run_on_cpu(variant, query, key, query_mask, key_mask)
    exact = correlation(query, key, query_mask, 3)
    best, expected = exact.max(1)
    assert (index == expected).double().mean() >= 0.999
    assert bool((exact.gather(1, index[:, None])[:, 0] >= (1 - 1e-3) * best).all())
    assert bool(((score - best).abs() <= 1e-3 * best).all())


def test_forced_variants(caplog):
    query, keys, query_mask, key_masks = random_batch(torch.device("cpu"), shared=True)
    expected = ops.match_patches(query, keys, query_mask, key_masks)
    assert not caplog.records
    with caplog.at_level("DEBUG", logger="neuralpatch_cuda"):
        forced = ops.match_patches(query, keys, query_mask, key_masks, variant="float32")
        ops.match_patches(query, keys, query_mask, key_masks)
    assert [record.getMessage() for record in caplog.records] == [
        "match_patches runs float32: asked for",
        "match_patches runs float32: not bfloat16, as it takes bfloat16 features",
    ]
    assert torch.equal(forced[0], expected[0])
    assert torch.equal(forced[1], expected[1])
    with pytest.raises(ValueError, match="variant 'bfloat16' cannot run: it takes bfloat16 features"):
        ops.match_patches(query, keys, query_mask, key_masks, variant="bfloat16")
    with pytest.raises(ValueError, match="variant must be 'auto', 'bfloat16' or 'float32' on this device, not"):
        ops.match_patches(query, keys, query_mask, key_masks, variant="tensor_core")


def test_is_captured_in_a_graph(cuda):
    """And replayed with other values."""
    query, keys, query_mask, key_masks = random_batch(cuda, shared=True)
    position = query_mask.flatten().nonzero()[:, 0]
    ops.match_patches(query, keys, position, key_masks)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        index, score = ops.match_patches(query, keys, position, key_masks)
    query.copy_(torch.randn_like(query))
    graph.replay()
    expected = ops.match_patches(query, keys, position, key_masks)
    assert torch.equal(index, expected[0])
    assert torch.equal(score, expected[1])


@pytest.mark.parametrize(
    ("variant", "precision"),
    [("float", "fp32"), ("float", "bf16"), ("tensor_core_split", "fp32"), ("tensor_core", "bf16")],
)
def test_cuda_variants_give_the_result_of_the_cpu(variant, precision, cuda):
    query, key = torch.randn(64, 34, 34).relu(), torch.randn(64, 40, 50).relu()
    masks = torch.ones(32, 32, dtype=torch.bool), torch.rand(38, 48) < 0.8
    expected = ops.match_patches(query, key, *masks, precision=precision)
    moved = [tensor.to(cuda) for tensor in (query, key, *masks)]
    index, score = ops.match_patches(*moved, precision=precision, variant=variant)
    assert (index.cpu() == expected[0]).double().mean() >= 0.999
    torch.testing.assert_close(score.cpu(), expected[1], rtol=0, atol=4e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_opcheck(shared, device):
    query, keys, query_mask, key_masks = random_batch(device, shared)
    position = query_mask.flatten().nonzero()[:, 0]
    torch.library.opcheck(
        torch.ops.neuralpatch.match_patches.default, (query, keys, position, key_masks, 3, "auto", "auto")
    )


def test_compiles(device):
    query, keys, query_mask, key_masks = random_batch(device, shared=True)
    position = query_mask.flatten().nonzero()[:, 0]
    compiled = torch.compile(ops.match_patches, fullgraph=True, backend="aot_eager")
    expected = ops.match_patches(query, keys, position, key_masks)
    for result, value in zip(compiled(query, keys, position, key_masks), expected, strict=True):
        assert torch.equal(result, value)


def test_wrong_arguments(device):
    features = torch.randn(3, 6, 6, device=device)
    mask = torch.ones(4, 4, dtype=torch.bool, device=device)
    with pytest.raises(ValueError, match="channels"):
        ops.match_patches(features, features[:2], mask, mask)
    with pytest.raises(ValueError, match=r"query_mask must be \[4, 4\]"):
        ops.match_patches(features, features, mask[1:], mask)
    with pytest.raises(ValueError, match="key_mask"):
        ops.match_patches(features, features, mask, mask[:, 1:])
    with pytest.raises(ValueError, match="do not fit"):
        ops.match_patches(features, features, mask, mask, size=7)
    with pytest.raises(ValueError, match="size"):
        ops.match_patches(features, features, mask, mask, size=0)
    with pytest.raises(ValueError, match="precision"):
        ops.match_patches(features, features, mask, mask, precision="fp64")
    with pytest.raises(ValueError, match="key must have 4 dimensions, as query has 4, not 3"):
        ops.match_patches(features[None], features, mask, mask)
    with pytest.raises(ValueError, match="query must have 3 or 4 dimensions, not 2"):
        ops.match_patches(features[0], features, mask, mask)
    with pytest.raises(ValueError, match="key_mask must have 2 dimensions"):
        ops.match_patches(features, features, mask, mask[None])
    with pytest.raises(ValueError, match="at least one exemplar"):
        ops.match_patches(features, [], mask, [])
    with pytest.raises(ValueError, match="as many key masks as keys, not 1 for 2"):
        ops.match_patches(features, [features, features], mask, [mask])
    batch, masks = features.repeat(3, 1, 1, 1), mask.repeat(3, 1, 1)
    with pytest.raises(ValueError, match="key must be of one image or of 3, as query is, not of 2"):
        ops.match_patches(batch, batch[:2], masks, masks)
    with pytest.raises(ValueError, match="key_mask must be of one image or of 3"):
        ops.match_patches(batch, batch, masks, masks[:2])
    with pytest.raises(ValueError, match=r"query_mask must be \[3, 4, 4\]"):
        ops.match_patches(batch, batch, mask, masks)
    with pytest.raises(TypeError, match="float64"):
        ops.match_patches(features.double(), features.double(), mask, mask)
    with pytest.raises(TypeError, match="key must be float32"):
        ops.match_patches(features, features.half(), mask, mask)
    with pytest.raises(TypeError, match="query_mask must be bool or int64"):
        ops.match_patches(features, features, mask.float(), mask)
    with pytest.raises(TypeError, match="must be a tensor"):
        ops.match_patches(features, features, mask, None)


@pytest.mark.parametrize(
    ("position", "message"),
    [([2, 1], "must ascend"), ([1, 1], "must ascend"), ([-1], "must ascend"), ([15, 16], "less than 16")],
)
def test_wrong_positions(position, message):
    features, mask = torch.randn(3, 6, 6), torch.ones(4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=message):
        ops.match_patches(features, features, torch.tensor(position), mask)
    with pytest.raises(ValueError, match="query_position must have 1 dimensions"):
        ops.match_patches(features, features, torch.tensor([position]), mask)
