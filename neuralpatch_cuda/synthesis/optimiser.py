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
HISTORY = 8
"""Pairs of points that L-BFGS remembers, of 24 bytes per pixel; 20 of them give the same quality."""
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

    def __init__(self, x: Tensor, history: int = HISTORY) -> None:
        """Make room for `history` pairs of vectors like `x [n]`."""
        self._history = history
        self._pairs = x.new_zeros(2 * history, x.numel())
        """The rows of S, then those of Y: a ring, in which rows not yet written are zero."""
        self._products = x.new_zeros(2 * history, history, dtype=torch.float64)
        """`[S; Y] Y'`, in the order of the ring; below the diagonal of R it is out of date."""
        self._slot = torch.zeros(1, dtype=torch.int64, device=x.device)
        self._order = torch.arange(history, device=x.device)
        self._scale = x.new_ones((), dtype=torch.float64)
        self._last = x.new_zeros(2, x.numel())
        self._comparable = torch.zeros((), dtype=torch.bool, device=x.device)

    def renew(self) -> None:
        self._comparable.fill_(False)

    def step(self, x: Tensor, gradient: Tensor) -> Tensor:
        torch.sub(x, self._last[0], out=self._last[0])
        torch.sub(gradient, self._last[1], out=self._last[1])
        direction, experienced = self._direction(self._last, gradient)
        self._last[0].copy_(x)
        self._last[1].copy_(gradient)
        self._comparable.fill_(True)
        rms = direction.square().mean().sqrt().clamp(min=1e-20)
        # Without curvature the gradient gives the direction alone; with it, the step has a length of its own.
        scale = torch.where(experienced, (LARGEST_STEP / rms).clamp(max=1), FIRST_STEP / rms)
        return (x + scale * direction).clamp(0, 1)

    def _direction(self, pair: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Remember a pair `[2, n]`, which is overwritten; returns `-H g`, and whether any pair is remembered."""
        sy, yy = (pair @ pair[1]).double()
        taken = self._comparable & (sy > 1e-10 * yy)
        # A pair that shows no curvature, or must not be compared, leaves the oldest one in its place.
        slots = torch.cat((self._slot, self._slot + self._history))
        torch.where(taken, pair, self._pairs.index_select(0, slots), out=pair)
        self._pairs.index_copy_(0, slots, pair)
        with_y, with_gradient = (self._pairs @ torch.stack((pair[1], gradient)).T).double().unbind(1)
        self._products.index_copy_(1, self._slot, with_y[:, None])
        self._products.index_copy_(0, slots[1:], with_y[None, self._history :])
        self._scale.copy_(torch.where(taken, sy / yy, self._scale))
        self._slot.copy_((self._slot + taken) % self._history)

        order = (self._order + self._slot) % self._history  # oldest first
        both = torch.cat((order, order + self._history))
        products = self._products.index_select(0, both).index_select(1, order)
        sy, yy = products[: self._history], products[self._history :]
        sg, yg = with_gradient.index_select(0, both).view(2, self._history, 1)
        diagonal = sy.diagonal()[:, None]
        # A row not yet written has no part in the product; a one on the diagonal lets the triangle be solved.
        triangle = sy.triu() + torch.diag((diagonal[:, 0] == 0).double())
        p = torch.linalg.solve_triangular(triangle, sg, upper=True)
        right = diagonal * p + self._scale * (yy @ p - yg)
        q = torch.linalg.solve_triangular(triangle.T, right, upper=False)
        weights = torch.zeros_like(with_gradient).index_copy(0, both, torch.cat((q, -self._scale * p))[:, 0])
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
