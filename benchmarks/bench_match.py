"""`match_patches` beside its reference and other ways of matching. Run: `pytest benchmarks/bench_match.py`.

Useful operations: 2 C x (query pixels) x (key pixels), the products of single pixels that the correlations consist of.
Whoever multiplies unfolded patches does `size^2` times as many.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks.machine import DEVICES
from benchmarks.measure import DTYPES, Measure, float32_products
from benchmarks.peers import matching
from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

CASES = {  # channels, query height and width, key height and width; a hole of half the photograph's side
    "small": (16, 10, 10, 12, 14),
    "relu3_1, 128 px": (256, 20, 20, 26, 32),
    "relu3_1, 256 px": (256, 36, 36, 47, 66),
    "relu3_1, 512 px": (256, 68, 68, 92, 130),
    "relu3_1, 1024 px": (256, 132, 132, 182, 258),
    "relu3_1, 2048 px": (256, 260, 260, 402, 482),
    "relu4_1, 512 px": (512, 34, 34, 47, 66),
}
FUNCTIONS = {
    "op": ops.match_patches,
    "reference": reference.match_patches,
    "product": matching.product,
    "chunked": matching.chunked,
    "convolution": matching.convolution,
    "faiss": matching.faiss_flat,
}
RUNS = [("fp32", name) for name in FUNCTIONS]
RUNS += [("tf32", "product")]
RUNS += [("bf16", name) for name in FUNCTIONS if name != "faiss"]


@pytest.fixture(autouse=True)
def ieee_float32() -> Iterator[None]:
    with float32_products("ieee"):
        yield


@pytest.mark.parametrize(("precision", "name"), RUNS, ids=[f"{precision}-{name}" for precision, name in RUNS])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("device", DEVICES)
def test_match_patches(measure: Measure, name: str, precision: str, case: str, device: str) -> None:
    if device == "cuda" and name == "faiss":
        pytest.skip("the peer is faiss on the CPU")
    if device == "cpu" and precision == "tf32":
        pytest.skip("tf32 is a GPU's")
    if name == "faiss":
        pytest.importorskip("faiss", reason="faiss is not installed: pip install faiss-cpu")
    channels, query_height, query_width, height, width = CASES[case]
    dtype = DTYPES[precision]
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(query_height, query_width, channels, generator=generator).permute(2, 0, 1).to(device, dtype)
    key = torch.randn(height, width, channels, generator=generator).permute(2, 0, 1).to(device, dtype)
    query_mask = torch.ones(query_height - 2, query_width - 2, dtype=torch.bool, device=device)
    key_mask = torch.ones(height - 2, width - 2, dtype=torch.bool, device=device)
    queries, keys = query_mask.numel(), key_mask.numel()
    inputs = "bf16" if precision == "bf16" else "fp32"

    function = FUNCTIONS[name]
    with float32_products("tf32" if precision == "tf32" else "ieee"):
        measure(
            lambda: function(query, key, query_mask, key_mask),
            group=f"{case}: {queries} x {keys} patches, C = {channels}, {inputs}, {device}",
            function=name,
            precision=precision,
            device=device,
            operations=2 * channels * query_height * query_width * height * width,
            size=queries * keys if case.startswith("relu3_1") else 0,
        )
