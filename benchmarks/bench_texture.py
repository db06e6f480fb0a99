"""`texture_loss` with its gradient, beside other ways of computing it. Run: `pytest benchmarks/bench_texture.py`.

Bytes that must move: features, target and count read, the gradient written, everything once.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.machine import DEVICES
from benchmarks.measure import DTYPES, Measure
from benchmarks.peers import losses
from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

SIDES = {"small": 12, "84 px": 84, "132 px": 132, "264 px": 264, "528 px": 528}


def by_autograd(loss: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    def value_and_gradient(features: Tensor, target: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        variable = features.detach().requires_grad_()
        value = loss(variable, target, count)
        return value.detach(), torch.autograd.grad(value, variable)[0]

    return value_and_gradient


NAMES = ["op", "op, in place", "reference", "by hand", "compiled"]
FUNCTIONS = {
    "op": by_autograd(ops.texture_loss),
    "reference": by_autograd(reference.texture_loss),
    "by hand": losses.texture_by_hand,
}


def function_named(name: str, features: Tensor) -> Callable[..., tuple[Tensor, Tensor]]:
    if name == "compiled":
        return losses.compiled(losses.texture_by_hand)
    if name == "op, in place":
        gradient = torch.empty_like(features)
        return lambda *arguments: ops.texture_loss_and_gradient(*arguments, gradient)
    return FUNCTIONS[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", SIDES)
@pytest.mark.parametrize("device", DEVICES)
def test_texture_loss(measure: Measure, name: str, precision: str, case: str, device: str) -> None:
    side = SIDES[case]
    channels = 16 if case == "small" else 256
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, side, side, channels, generator=generator).permute(0, 3, 1, 2).to(device, DTYPES[precision])
    count = torch.randint(0, 10, (side, side), generator=generator).to(device, torch.float32)

    function = function_named(name, maps[0])
    measure(
        lambda: function(maps[0], maps[1], count),
        group=f"features {channels} x {side} x {side}, {precision}, {device}",
        function=name,
        precision=precision,
        device=device,
        moved_bytes=3 * maps[0].nbytes + count.nbytes,
        size=side**2,
    )
