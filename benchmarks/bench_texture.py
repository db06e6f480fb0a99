"""`texture_loss`, value and gradient, and its reference. Run: `pytest benchmarks/bench_texture.py`."""

from __future__ import annotations

import pytest
import torch

from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() and ops.build_info()["cuda"] == "yes" else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("function", [ops.texture_loss, reference.texture_loss], ids=["op", "reference"])
def test_texture_loss(benchmark, function, dtype, device):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 84, 84, 256, generator=generator).permute(0, 3, 1, 2).to(device, dtype)
    features, target = maps[0].clone(memory_format=torch.preserve_format).requires_grad_(), maps[1]
    count = torch.randint(0, 10, (84, 84), generator=generator).to(device, torch.float32)

    def run():
        (gradient,) = torch.autograd.grad(function(features, target, count), features)
        return gradient[0, 0, 0].item()  # waits for the device

    benchmark.group = f"256 x 84 x 84 features, {dtype}, {device}"
    benchmark.pedantic(run, rounds=20, warmup_rounds=2)
