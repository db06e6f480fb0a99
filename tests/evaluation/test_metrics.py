import math

import pytest
import torch

from neuralpatch_cuda.evaluation.metrics import gradient_magnitude, psnr


def test_psnr_counts_the_hole_alone() -> None:
    original = torch.rand(3, 16, 16)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:8, 4:8] = True
    filled = original.clone()
    filled[:, ~mask] = 0
    assert psnr(filled, original, mask) == math.inf
    filled[:, mask] += 0.1
    assert psnr(filled, original, mask) == pytest.approx(20, abs=1e-4)


def test_gradient_of_a_ramp_is_its_slope() -> None:
    image = torch.linspace(0, 1, 21).expand(3, 10, 21)
    assert gradient_magnitude(image, torch.ones(10, 21, dtype=torch.bool)) == pytest.approx(0.05, rel=1e-5)


def test_blur_has_less_gradient() -> None:
    image = torch.rand(3, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(image, 3, 1, 1)
    mask = torch.ones(32, 32, dtype=torch.bool)
    assert gradient_magnitude(blurred, mask) < 0.5 * gradient_magnitude(image, mask)
