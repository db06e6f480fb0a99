"""Minimisers over a vector of pixels in [0, 1], driven one evaluation at a time.

Their state lives on the device of the pixels and is renewed in place, and no value is read back; so a step waits for
nothing and can be captured in a CUDA graph. The objective changes whenever the patches are matched anew, so a
minimiser is told so (`renew`) instead of owning the loop.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

FIRST_STEP = 0.02
"""Root mean square change of the pixels in the very first step, before any curvature is known."""
LARGEST_STEP = 0.1
"""Bound on the root mean square change of the pixels in one step; it stands in for a line search."""


class Minimiser(Protocol):
    def renew(self) -> None:
        """The next gradient belongs to another objective than the last one."""

    def step(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The next point, from the gradient at `x`."""


class LBFGS:
    """Limited-memory BFGS without a line search, projected onto [0, 1].

    The product of the inverse Hessian and the gradient is taken in its compact form (Byrd, Nocedal and Schnabel,
    "Representations of quasi-Newton matrices and their use in limited memory methods", 1994, theorem 2.2): with the
    steps S, the changes of the gradient Y (rows, oldest first), R the upper triangle of `S Y'`, D its diagonal,

        H g = c g + S' R^-T ((D + c Y Y') p - c Y g) - c Y' p,    p = R^-1 S g,

    a few products with the whole history at once. The small matrices are kept in float64.

    When the objective is renewed, the pair of points across the change is dropped and the others are kept: the
    curvature comes from the network and hardly changes with the targets.
    """

    def __init__(self, x: Tensor, history: int = 20) -> None:
        """Make room for `history` pairs of vectors like `x [n]`."""
        self._history = history
        self._pairs = x.new_zeros(2 * history, x.numel())
        """The rows of S, then those of Y: a ring, in which rows not yet written are zero."""
        self._products = x.new_zeros(history, 2 * history, dtype=torch.float64)
        """`Y [S' Y']`, in the order of the ring."""
        self._slot = torch.zeros(1, dtype=torch.int64, device=x.device)
        self._order = torch.arange(history, device=x.device)
        self._scale = x.new_ones((), dtype=torch.float64)
        self._last = x.new_zeros(2, x.numel())
        self._comparable = torch.zeros((), dtype=torch.bool, device=x.device)

    def renew(self) -> None:
        self._comparable.fill_(False)

    def step(self, x: Tensor, gradient: Tensor) -> Tensor:
        point = torch.stack((x, gradient))
        self._remember(point - self._last)
        self._last.copy_(point)
        self._comparable.fill_(True)
        direction, experienced = self._direction(gradient)
        rms = direction.square().mean().sqrt().clamp(min=1e-20)
        # Without curvature the gradient gives the direction alone; with it, the step has a length of its own.
        scale = torch.where(experienced, (LARGEST_STEP / rms).clamp(max=1), FIRST_STEP / rms)
        return (x + scale * direction).clamp(0, 1)

    def _remember(self, pair: Tensor) -> None:
        """Replace the oldest pair by a new one `[2, n]`, unless it must not be compared or shows no curvature."""
        sy, yy = (pair @ pair[1]).double()
        taken = self._comparable & (sy > 1e-10 * yy)
        slots = torch.cat((self._slot, self._slot + self._history))
        self._pairs.index_copy_(0, slots, torch.where(taken, pair, self._pairs.index_select(0, slots)))
        s, y = self._pairs.index_select(0, slots)
        with_y, ys = (self._pairs @ y).double(), (self._pairs[self._history :] @ s).double()
        self._products.index_copy_(0, self._slot, with_y[None])
        self._products.index_copy_(1, slots, torch.stack((ys, with_y[self._history :]), 1))
        self._scale.copy_(torch.where(taken, sy / yy, self._scale))
        self._slot.copy_((self._slot + taken) % self._history)

    def _direction(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """`-H g`, and whether there is any pair."""
        order = (self._order + self._slot) % self._history  # oldest first
        both = torch.cat((order, order + self._history))
        products = self._products.index_select(0, order).index_select(1, both)
        ys, yy = products[:, : self._history], products[:, self._history :]
        diagonal = ys.diagonal()
        # A row not yet written has no part in the product; a one on the diagonal lets the triangle be solved.
        triangle = ys.T.triu() + torch.diag((diagonal == 0).double())
        sg, yg = (self._pairs @ gradient).double().index_select(0, both).view(2, self._history)
        p = torch.linalg.solve_triangular(triangle, sg[:, None], upper=True)
        right = diagonal[:, None] * p + self._scale * (yy @ p - yg[:, None])
        q = torch.linalg.solve_triangular(triangle.T, right, upper=False)
        weights = torch.zeros_like(sg).repeat(2).index_copy(0, both, torch.cat((q, -self._scale * p))[:, 0])
        direction = -self._scale.to(gradient.dtype) * gradient - weights.to(gradient.dtype) @ self._pairs
        return direction, diagonal.any()


class Adam:
    """Adam, projected onto [0, 1]."""

    def __init__(self, x: Tensor, learning_rate: float = 0.02) -> None:
        self._x = x.clone()
        self._adam = torch.optim.Adam([self._x], learning_rate, capturable=x.is_cuda)

    def renew(self) -> None:
        """Its averages forget by themselves."""

    def step(self, x: Tensor, gradient: Tensor) -> Tensor:
        self._x.grad = gradient
        self._adam.step()
        self._x.clamp_(0, 1)
        return self._x.clone()
