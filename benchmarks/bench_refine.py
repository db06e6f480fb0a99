"""`refine_matches` beside its reference and the exact search. Run: `pytest benchmarks/bench_refine.py`.

Eight rounds from random matches, as at the first matching of a scale. Useful operations: 2 C size^2 for each candidate:
in a round 4 of the neighbours, 1 of all keys, and one for each radius; those outside of the map are counted too.
"""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.machine import DEVICES
from benchmarks.measure import DTYPES, Measure
from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

CASES = {  # channels, query height and width, key height and width; a hole of half the photograph's side
    "small": (16, 10, 10, 12, 14),
    "relu3_1, 256 px": (256, 36, 36, 47, 66),
    "relu3_1, 512 px": (256, 68, 68, 92, 130),
    "relu3_1, 1024 px": (256, 132, 132, 182, 258),
    "relu3_1, 2048 px": (256, 260, 260, 402, 482),
}
ROUNDS = 8


@pytest.mark.parametrize("name", ["op", "reference", "exact"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("device", DEVICES)
def test_refine_matches(measure: Measure, name: str, precision: str, case: str, device: str) -> None:
    channels, query_height, query_width, height, width = CASES[case]
    generator = torch.Generator().manual_seed(0)

    def features(rows: int, columns: int) -> torch.Tensor:
        values = torch.randn(rows, columns, channels, generator=generator).permute(2, 0, 1)
        return values.to(device, DTYPES[precision])

    query, key = features(query_height, query_width), features(height, width)
    position = torch.arange((query_height - 2) * (query_width - 2), device=device)
    key_mask = torch.ones(height - 2, width - 2, dtype=torch.bool, device=device)
    start = torch.randint(key_mask.numel(), position.shape, generator=generator).to(device)
    calls = {
        "op": lambda: ops.refine_matches(query, key, position, key_mask, start, rounds=ROUNDS),
        "reference": lambda: reference.refine_matches(query, key, position, key_mask, start, rounds=ROUNDS),
        "exact": lambda: ops.match_patches(query, key, position, key_mask),
    }
    candidates = 5 + int(math.log2(max(key_mask.shape)))
    queries, keys = len(position), key_mask.numel()
    measure(
        calls[name],
        group=f"{ROUNDS} rounds, {case}: {queries} x {keys} patches, C = {channels}, {precision}, {device}",
        function=name,
        precision=precision,
        device=device,
        operations=2 * channels * 9 * candidates * ROUNDS * queries,
        size=queries if case.startswith("relu3_1") else 0,
    )
