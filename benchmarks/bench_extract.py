"""`extract_patches` and its adjoint, beside other ways. Run: `pytest benchmarks/bench_extract.py`.

Bytes that must move: the features read and the patches written once, or the other way round. `F.unfold` alone returns
the patches as columns; the reference is copied into rows here, as the operator returns them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.machine import DEVICES
from benchmarks.measure import DTYPES, Measure
from benchmarks.peers import extraction
from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

SIDES = {"small": 12, "68 px": 68, "132 px": 132, "260 px": 260}
FUNCTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "op": ops.extract_patches,
    "reference": lambda features, size: reference.extract_patches(features, size).contiguous(),
    "strided copy": extraction.strided_copy,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", SIDES)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_extract_patches(measure: Measure, name: str, precision: str, case: str, device: str, direction: str) -> None:
    side = SIDES[case]
    channels = 16 if case == "small" else 256
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, side, side, channels, generator=generator).permute(0, 3, 1, 2)
    features = features.to(device, DTYPES[precision])
    function = FUNCTIONS[name]
    if direction == "forward":
        call = lambda: function(features, 3)  # noqa: E731
    else:
        features.requires_grad_()
        patches = function(features, 3)
        upstream = torch.randn(patches.shape, generator=generator).to(patches)
        call = lambda: torch.autograd.grad(patches, features, upstream, retain_graph=True)[0]  # noqa: E731

    measure(
        call,
        group=f"{direction}: features {channels} x {side} x {side}, {precision}, {device}",
        function=name,
        precision=precision,
        device=device,
        moved_bytes=features.nbytes + (side - 2) ** 2 * 9 * channels * features.element_size(),
        size=side**2 if direction == "forward" else 0,
    )
