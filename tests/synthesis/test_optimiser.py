from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from neuralpatch_cuda.synthesis.optimiser import FIRST_STEP, LARGEST_STEP, LBFGS, Adam, Minimiser


def minimise(minimiser: Minimiser, gradient: Callable[[Tensor], Tensor], x: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        x = minimiser.step(x, gradient(x), False)
    return x


@pytest.fixture
def quadratic() -> tuple[Tensor, Tensor]:
    """A positive definite matrix of condition 100 and a minimum inside [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(40, 40, generator=generator, dtype=torch.float64))
    matrix = q @ torch.diag(torch.logspace(0, 2, 40, dtype=torch.float64)) @ q.T
    return matrix, 0.3 + 0.4 * torch.rand(40, generator=generator, dtype=torch.float64)


def test_lbfgs_solves_a_quadratic(quadratic: tuple[Tensor, Tensor]) -> None:
    matrix, minimum = quadratic
    x = minimise(LBFGS(), lambda x: matrix @ (x - minimum), torch.full_like(minimum, 0.5), 60)
    torch.testing.assert_close(x, minimum, atol=1e-6, rtol=0)


def test_lbfgs_is_faster_than_adam(quadratic: tuple[Tensor, Tensor]) -> None:
    matrix, minimum = quadratic

    def error(minimiser: Minimiser) -> float:
        x = minimise(minimiser, lambda x: matrix @ (x - minimum), torch.full_like(minimum, 0.5), 30)
        return float((x - minimum).norm())

    assert error(LBFGS()) < 0.1 * error(Adam())


def test_a_renewed_objective_keeps_the_curvature(quadratic: tuple[Tensor, Tensor]) -> None:
    matrix, minimum = quadratic
    experienced = LBFGS()
    start = minimise(experienced, lambda x: matrix @ (x - minimum), torch.full_like(minimum, 0.5), 60)
    moved = minimum + 0.01

    def error(minimiser: Minimiser) -> float:
        x = minimiser.step(start, matrix @ (start - moved), True)
        return float((minimise(minimiser, lambda x: matrix @ (x - moved), x, 10) - moved).norm())

    assert error(experienced) < 0.5 * error(LBFGS())


@pytest.mark.parametrize("minimiser", [LBFGS(), Adam(0.5)])
def test_pixels_stay_in_range(minimiser: Minimiser) -> None:
    x = torch.full((10,), 0.5)
    for _ in range(20):
        x = minimiser.step(x, torch.linspace(-1, 1, 10), False)
        assert x.min() >= 0 and x.max() <= 1
    assert x[0] == 1 and x[-1] == 0


def test_steps_are_bounded() -> None:
    def rms(step: Tensor) -> float:
        return float(step.square().mean().sqrt())

    minimiser, x = LBFGS(), torch.full((100,), 0.5, dtype=torch.float64)
    first = minimiser.step(x, torch.randn(100, dtype=torch.float64), False)
    assert rms(first - x) == pytest.approx(FIRST_STEP)
    # A flat direction: almost no curvature, hence an enormous quasi-Newton step.
    second = minimiser.step(first, torch.randn(100, dtype=torch.float64) * 1e-6 + 1e3 * (first - x) * 1e-6, False)
    assert rms(second - first) <= LARGEST_STEP * (1 + 1e-9)


def test_a_zero_gradient_is_the_end() -> None:
    x = torch.rand(10)
    assert torch.equal(LBFGS().step(x, torch.zeros(10), False), x)
