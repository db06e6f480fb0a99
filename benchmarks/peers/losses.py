"""Other ways of computing a loss with its gradient: by hand, and by hand with `torch.compile`.

`(features, target, count)` or `(x, mask)` -> (loss, gradient), as `ops.texture_loss` and `ops.total_variation` define
them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[..., tuple[Tensor, Tensor]]


def texture_by_hand(features: Tensor, target: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    difference = features.float() - target.float()
    gradient = 2 * count * difference
    return (difference * gradient).sum() / 2, gradient.to(features.dtype)


def variation_by_hand(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    right = torch.diff(x.float(), dim=2) * (mask[:, 1:] | mask[:, :-1])
    below = torch.diff(x.float(), dim=1) * (mask[1:] | mask[:-1])
    gradient = 2 * (
        F.pad(right, (1, 0)) - F.pad(right, (0, 1)) + F.pad(below, (0, 0, 1, 0)) - F.pad(below, (0, 0, 0, 1))
    )
    return right.square().sum() + below.square().sum(), gradient.to(x.dtype)


def compiled(loss: Loss) -> Loss:
    """`torch.compile` for one set of shapes; what was compiled before is forgotten, or it would soon refuse."""
    torch.compiler.reset()
    result: Loss = torch.compile(loss, dynamic=False)
    return result
