from collections import deque
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from neuralpatch_cuda.synthesis.optimiser import FIRST_STEP, LARGEST_STEP, LBFGS, Adam, Minimiser


def minimise(minimiser: Minimiser, gradient: Callable[[Tensor], Tensor], x: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        x = minimiser.step(x, gradient(x))
    return x


class TwoLoops:
    """L-BFGS by the two-loop recursion (Nocedal and Wright, algorithm 7.4), which the compact form must equal."""

    def __init__(self, history: int) -> None:
        self._pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=history)
        self._last: tuple[Tensor, Tensor] | None = None

    def renew(self) -> None:
        self._last = None

    def step(self, x: Tensor, gradient: Tensor) -> Tensor:
        if self._last is not None:
            s, y = x - self._last[0], gradient - self._last[1]
            if s @ y > 1e-10 * (y @ y):
                self._pairs.append((s, y))
        self._last = x, gradient
        q, weights = gradient, []
        for s, y in reversed(self._pairs):
            weights.append((s @ q) / (s @ y))
            q = q - weights[-1] * y
        if self._pairs:
            s, y = self._pairs[-1]
            q = q * (s @ y) / (y @ y)
        for (s, y), weight in zip(self._pairs, reversed(weights), strict=True):
            q = q + (weight - (y @ q) / (s @ y)) * s
        rms = q.square().mean().sqrt()
        scale = min(1, LARGEST_STEP / rms) if self._pairs else FIRST_STEP / rms
        return (x - scale * q).clamp(0, 1)


@pytest.fixture
def quadratic() -> tuple[Tensor, Tensor]:
    """A positive definite matrix of condition 100 and a minimum inside [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(40, 40, generator=generator, dtype=torch.float64))
    matrix = q @ torch.diag(torch.logspace(0, 2, 40, dtype=torch.float64)) @ q.T
    return matrix, 0.3 + 0.4 * torch.rand(40, generator=generator, dtype=torch.float64)


def test_the_compact_form_is_the_two_loop_recursion(quadratic: tuple[Tensor, Tensor]) -> None:
    matrix, minimum = quadratic
    x = torch.full_like(minimum, 0.5)
    minimisers = LBFGS(x, history=5), TwoLoops(history=5)
    points = [x, x]
    for i in range(40):
        # The ripples make some pairs lack curvature.
        gradients = [matrix @ (x - minimum) + 20 * torch.sin(60 * x) for x in points]
        for minimiser in minimisers:
            if i % 7 == 3:
                minimiser.renew()
        points = [m.step(x, g) for m, x, g in zip(minimisers, points, gradients, strict=True)]
        torch.testing.assert_close(points[0], points[1], atol=1e-9, rtol=0)


def test_lbfgs_solves_a_quadratic(quadratic: tuple[Tensor, Tensor]) -> None:
    matrix, minimum = quadratic
    x = torch.full_like(minimum, 0.5)
    x = minimise(LBFGS(x, 20), lambda x: matrix @ (x - minimum), x, 60)
    torch.testing.assert_close(x, minimum, atol=1e-6, rtol=0)


def test_lbfgs_is_faster_than_adam(quadratic: tuple[Tensor, Tensor]) -> None:
    matrix, minimum = quadratic

    x = torch.full_like(minimum, 0.5)

    def error(minimiser: Minimiser) -> float:
        return float((minimise(minimiser, lambda x: matrix @ (x - minimum), x, 30) - minimum).norm())

    assert error(LBFGS(x)) < 0.1 * error(Adam(x))


def test_a_renewed_objective_keeps_the_curvature(quadratic: tuple[Tensor, Tensor]) -> None:
    matrix, minimum = quadratic
    start = torch.full_like(minimum, 0.5)
    experienced = LBFGS(start, 20)
    start = minimise(experienced, lambda x: matrix @ (x - minimum), start, 60)
    moved = minimum + 0.01

    def error(minimiser: Minimiser) -> float:
        minimiser.renew()
        return float((minimise(minimiser, lambda x: matrix @ (x - moved), start, 11) - moved).norm())

    assert error(experienced) < 0.5 * error(LBFGS(start, 20))


@pytest.mark.parametrize("minimiser", [LBFGS(torch.full((10,), 0.5)), Adam(torch.full((10,), 0.5), 0.5)])
def test_pixels_stay_in_range(minimiser: Minimiser) -> None:
    x = torch.full((10,), 0.5)
    for _ in range(20):
        x = minimiser.step(x, torch.linspace(-1, 1, 10))
        assert x.min() >= 0 and x.max() <= 1
    assert x[0] == 1 and x[-1] == 0


def test_steps_are_bounded() -> None:
    def rms(step: Tensor) -> float:
        return float(step.square().mean().sqrt())

    x = torch.full((100,), 0.5, dtype=torch.float64)
    minimiser = LBFGS(x)
    first = minimiser.step(x, torch.randn(100, dtype=torch.float64))
    assert rms(first - x) == pytest.approx(FIRST_STEP)
    # A flat direction: almost no curvature, hence an enormous quasi-Newton step.
    second = minimiser.step(first, torch.randn(100, dtype=torch.float64) * 1e-6 + 1e3 * (first - x) * 1e-6)
    assert rms(second - first) <= LARGEST_STEP * (1 + 1e-9)


def test_a_zero_gradient_is_the_end() -> None:
    x = torch.rand(10)
    assert torch.equal(LBFGS(x).step(x, torch.zeros(10)), x)
