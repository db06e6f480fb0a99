"""Minimisers over a vector of pixels in [0, 1], driven one evaluation at a time.

The objective changes whenever the patches are matched anew, so a minimiser is told so (`renewed`) instead of owning
the loop.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import torch
from torch import Tensor

FIRST_STEP = 0.02
"""Root mean square change of the pixels in the very first step, before any curvature is known."""
LARGEST_STEP = 0.1
"""Bound on the root mean square change of the pixels in one step; it stands in for a line search."""


class Minimiser(Protocol):
    def step(self, x: Tensor, gradient: Tensor, renewed: bool) -> Tensor:
        """The next point, from the gradient at `x`; `renewed`: the objective is no longer that of the last step."""


class LBFGS:
    """Limited-memory BFGS (Nocedal and Wright, algorithm 7.4) without a line search, projected onto [0, 1].

    When the objective is renewed, the pair of points across the change is dropped and the others are kept: the
    curvature comes from the network and hardly changes with the targets.
    """

    def __init__(self, history: int = 20) -> None:
        self._pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=history)  # s, y, 1 / <s, y>
        self._last: tuple[Tensor, Tensor] | None = None

    def step(self, x: Tensor, gradient: Tensor, renewed: bool) -> Tensor:
        if self._last is not None and not renewed:
            s, y = x - self._last[0], gradient - self._last[1]
            curvature = torch.dot(s, y)
            if curvature > 1e-10 * torch.dot(y, y):
                self._pairs.append((s, y, 1 / curvature))
        self._last = (x, gradient)
        direction = self._direction(gradient)
        rms = direction.square().mean().sqrt().clamp(min=1e-20)
        # Without curvature the gradient gives the direction alone; with it, the step has a length of its own.
        scale = (LARGEST_STEP / rms).clamp(max=1) if self._pairs else FIRST_STEP / rms
        return (x + scale * direction).clamp(0, 1)

    def _direction(self, gradient: Tensor) -> Tensor:
        q = -gradient
        weights = []
        for s, y, rho in reversed(self._pairs):
            weight = rho * torch.dot(s, q)
            q = q - weight * y
            weights.append(weight)
        if self._pairs:
            s, y, rho = self._pairs[-1]
            q = q / (rho * torch.dot(y, y))
        for (s, y, rho), weight in zip(self._pairs, reversed(weights), strict=True):
            q = q + (weight - rho * torch.dot(y, q)) * s
        return q


class Adam:
    """Adam, projected onto [0, 1]."""

    def __init__(self, learning_rate: float = 0.02) -> None:
        self._learning_rate = learning_rate
        self._x: Tensor | None = None

    def step(self, x: Tensor, gradient: Tensor, renewed: bool) -> Tensor:
        if self._x is None:
            self._x = x.clone()
            self._adam = torch.optim.Adam([self._x], self._learning_rate)
        self._x.grad = gradient
        self._adam.step()
        self._x.clamp_(0, 1)
        return self._x.clone()
