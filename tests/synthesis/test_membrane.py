"""The field between given values is Laplace's, and shows in no direction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neuralpatch_cuda.synthesis.membrane import membrane

SIDE = 129


def frame() -> Tensor:
    """Given around a hole."""
    given = torch.ones(SIDE, SIDE, dtype=torch.bool)
    given[5:-5, 5:-5] = False
    return given


def ring() -> Tensor:
    """Given in a ring of one pixel, as the rim of a hole is."""
    given = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    given[5:-5, 5:-5] = True
    given[6:-6, 6:-6] = False
    return given


@pytest.mark.parametrize("given", [frame(), ring()])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonic_functions_are_continued(given: Tensor, degree: int) -> None:
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIDE, dtype=torch.float64)] * 2, indexing="ij")
    harmonic = torch.stack([(torch.complex(x, y) ** degree).real, (torch.complex(x, y) ** degree).imag])
    error = (membrane(harmonic, given) - harmonic)[:, 6:-6, 6:-6].abs().max()
    assert error < 0.1 * max(1, degree) * harmonic.abs().max()
    assert torch.equal(membrane(harmonic, given)[:, given], harmonic[:, given])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 2), (33, 50)])
def test_nothing_leaves_the_range_of_what_is_given(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values, given = torch.rand(3, *size), torch.rand(size) < 0.3
    given[0, 0] = True
    field = membrane(values, given)
    low, high = (values[:, given].amin(1), values[:, given].amax(1))
    spread = (high - low)[:, None, None]
    assert (field >= low[:, None, None] - 0.3 * spread - 1e-6).all()
    assert (field <= high[:, None, None] + 0.3 * spread + 1e-6).all()
    assert torch.equal(field[:, given], values[:, given])


def test_a_lone_value_fills_everything() -> None:
    given = torch.zeros(40, 60, dtype=torch.bool)
    given[3, 50] = True
    torch.testing.assert_close(membrane(torch.full((1, 40, 60), 0.25), given), torch.full((1, 40, 60), 0.25))
