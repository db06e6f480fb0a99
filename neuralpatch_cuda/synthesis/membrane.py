"""The membrane that takes the seam from around a hole.

Where the pixels around a hole were synthesised too, they show how far the synthesis is off the photograph. Spread
smoothly over the hole, that difference brings the colours at its border to those of the photograph and leaves the
gradients inside as they are: what Poisson image editing does (Perez et al., SIGGRAPH 2003).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SWEEPS = 8
"""At each size; what is smoother than they can see is left to the next smaller one."""
OVER_RELAXATION = 1.9


def membrane(values: Tensor, given: Tensor) -> Tensor:
    """Solve Laplace's equation between given values, to a few percent of their spread: the field is smooth.

    From coarse to fine, each size begins with the next smaller one's field, and red and black pixels in turn are drawn
    to the mean of their neighbours (successive over-relaxation).

    Args:
        values: `[C, H, W]`, floating point.
        given: bool `[H, W]`, where they count; somewhere.

    Returns:
        `[C, H, W]`, the given values and what lies between them.
    """
    size = given.shape
    if given.all() or size == (1, 1):
        return values
    weight = given.to(values.dtype)[None]
    total, share = (F.avg_pool2d(x, 2, ceil_mode=True) for x in (values * weight, weight))
    coarse = membrane(total / share.clamp(min=0.25), share[0] > 0)
    field = torch.where(given, values, F.interpolate(coarse[None], size, mode="bilinear")[0])
    rows, columns = (torch.arange(extent, device=values.device) for extent in size)
    red = (rows[:, None] + columns) % 2 == 0
    steps = [OVER_RELAXATION * (colour & ~given).to(values.dtype) for colour in (red, ~red)]
    padded = F.pad(field[None], (1, 1, 1, 1))[0]
    field = padded[:, 1:-1, 1:-1]
    change = torch.empty_like(field)
    for _ in range(SWEEPS):
        for step in steps:
            padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]
            padded[..., 0], padded[..., -1] = padded[..., 1], padded[..., -2]
            torch.add(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], out=change)
            change.add_(padded[:, 1:-1, :-2]).add_(padded[:, 1:-1, 2:])
            field.add_(change.div_(4).sub_(field).mul_(step))
    return field
