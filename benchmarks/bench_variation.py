"""`total_variation` with its gradient, beside other ways of computing it. Run: `pytest benchmarks/bench_variation.py`.

Bytes that must move: image and mask read, the gradient written, everything once.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.machine import DEVICES
from benchmarks.measure import DTYPES, Measure
from benchmarks.peers import losses
from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

SIDES = {"small": 24, "512 px": 512, "1024 px": 1024, "2048 px": 2048, "4096 px": 4096}
LOSSES = {"op": ops.total_variation, "reference": reference.total_variation}


@pytest.mark.parametrize("name", [*LOSSES, "by hand", "compiled"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", SIDES)
@pytest.mark.parametrize("device", DEVICES)
def test_total_variation(measure: Measure, name: str, precision: str, case: str, device: str) -> None:
    side = SIDES[case]
    x = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0)).to(device, DTYPES[precision])
    mask = torch.zeros(side, side, dtype=torch.bool, device=device)
    mask[side // 4 : -side // 4, side // 4 : -side // 4] = True

    by_hand = losses.compiled(losses.variation_by_hand) if name == "compiled" else losses.variation_by_hand

    def call() -> tuple[Tensor, Tensor]:
        if name not in LOSSES:
            return by_hand(x, mask)
        variable = x.detach().requires_grad_()
        value = LOSSES[name](variable, mask)
        return value.detach(), torch.autograd.grad(value, variable)[0]

    measure(
        call,
        group=f"image 3 x {side} x {side}, {precision}, {device}",
        function=name,
        precision=precision,
        device=device,
        moved_bytes=2 * x.nbytes + mask.nbytes,
        size=side**2,
    )
