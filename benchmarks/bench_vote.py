"""`vote_patches` beside its reference and other ways of voting. Run: `pytest benchmarks/bench_vote.py`.

Bytes that must move: the target and the count written, each key pixel that a match uses, the matches' positions and
indices read; everything once. In a photograph, half to two thirds of the neighbouring matches are copied from
neighbouring places; blocks of 3 x 3 positions stand for them. Random matches are the worst case: nine key pixels, far
apart, for each one of the target.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.machine import DEVICES
from benchmarks.measure import DTYPES, Measure
from benchmarks.peers import voting
from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

CASES = {  # channels, side of the target, key height and width
    "small": (16, 12, 14, 16),
    "relu3_1, 256 px": (256, 36, 47, 66),
    "relu3_1, 512 px": (256, 68, 92, 130),
    "relu3_1, 1024 px": (256, 132, 182, 258),
    "relu3_1, 2048 px": (256, 260, 402, 482),
}
BLOCKS = {"in blocks": 3, "random": 1}
FUNCTIONS = {
    "op": ops.vote_patches,
    "op, in place": ops.vote_patches,
    "reference": reference.vote_patches,
    "index_add": voting.index_add,
    "embedding_bag": voting.embedding_bag,
}


def matched(side: int, rows: int, columns: int, block: int, generator: torch.Generator) -> Tensor:
    """For each of side x side positions, one of rows x columns; blocks of them move together."""
    blocks = -(-side // block)
    place = torch.arange(side)
    within = place // block, place % block
    top = torch.randint(max(1, rows - block), (blocks, blocks), generator=generator)
    left = torch.randint(max(1, columns - block), (blocks, blocks), generator=generator)
    row = top[within[0][:, None], within[0]] + within[1][:, None]
    column = left[within[0][:, None], within[0]] + within[1]
    return (row.clamp(max=rows - 1) * columns + column.clamp(max=columns - 1)).flatten()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("matches", BLOCKS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("device", DEVICES)
def test_vote_patches(measure: Measure, name: str, precision: str, matches: str, case: str, device: str) -> None:
    channels, side, height, width = CASES[case]
    generator = torch.Generator().manual_seed(0)
    key = torch.randn(height, width, channels, generator=generator).permute(2, 0, 1).to(device, DTYPES[precision])
    position = torch.arange((side - 2) ** 2)
    index = matched(side - 2, height - 2, width - 2, BLOCKS[matches], generator)
    corner = index // (width - 2) * width + index % (width - 2)
    offset = (torch.arange(3)[:, None] * width + torch.arange(3)).flatten()
    used = torch.unique(corner[:, None] + offset).numel()
    moved = (side**2 + used) * channels * key.element_size() + 4 * side**2 + 16 * len(index)

    function, position, index = FUNCTIONS[name], position.to(device), index.to(device)
    options = {}
    if name == "op, in place":
        target = torch.empty(side, side, channels, dtype=key.dtype, device=device).permute(2, 0, 1)
        options["out"] = target, torch.empty(side, side, device=device)
    measure(
        lambda: function(key, position, index, 3, side, side, **options),
        group=f"{case}, matches {matches}: target {channels} x {side} x {side}, {precision}, {device}",
        function=name,
        precision=precision,
        device=device,
        moved_bytes=moved,
        size=side**2 if matches == "in blocks" else 0,
    )
