"""`match_patches` and its reference. Run: `pytest benchmarks/bench_match.py`."""

from __future__ import annotations

import pytest
import torch

from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() and ops.build_info()["cuda"] == "yes" else [])]
CASES = {  # channels, query side, key height and width
    "relu3_1, 4356 queries x 11520 keys": (256, 68, 92, 130),
    "relu4_1, 1024 queries x 2880 keys": (512, 34, 47, 66),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("function", [ops.match_patches, reference.match_patches], ids=["op", "reference"])
def test_match_patches(benchmark, function, case, dtype, device):
    channels, side, height, width = CASES[case]
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(side, side, channels, generator=generator).permute(2, 0, 1).to(device, dtype)
    key = torch.randn(height, width, channels, generator=generator).permute(2, 0, 1).to(device, dtype)
    query_mask = torch.ones(side - 2, side - 2, dtype=torch.bool, device=device)
    key_mask = torch.ones(height - 2, width - 2, dtype=torch.bool, device=device)

    def run():
        _, score = function(query, key, query_mask, key_mask)
        return score[0].item()  # waits for the device

    benchmark.group = f"{case}, {dtype}, {device}"
    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
