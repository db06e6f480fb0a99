"""`vote_patches` and its reference. Run: `pytest benchmarks/bench_vote.py`."""

from __future__ import annotations

import pytest
import torch

from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() and ops.build_info()["cuda"] == "yes" else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("function", [ops.vote_patches, reference.vote_patches], ids=["op", "reference"])
def test_vote_patches(benchmark, function, dtype, device):
    generator = torch.Generator().manual_seed(0)
    key = torch.randn(92, 130, 256, generator=generator).permute(2, 0, 1).to(device, dtype)
    position = torch.arange(66 * 66, device=device)
    index = torch.randint(90 * 128, position.shape, generator=generator).to(device)

    def run():
        target, _ = function(key, position, index, 3, 68, 68)
        return target[0, 0, 0].item()  # waits for the device

    benchmark.group = f"256 x 68 x 68 target, {dtype}, {device}"
    benchmark.pedantic(run, rounds=10, warmup_rounds=1)
