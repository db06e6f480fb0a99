import math

import pytest
import torch
from torch import Tensor

from neuralpatch_cuda.evaluation.metrics import (
    METRICS,
    border_step,
    gradient_magnitude,
    l1,
    l2,
    layout_psnr,
    measures,
    psnr,
    ssim,
)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def square(side: int = 32, start: int = 8, stop: int = 24) -> Tensor:
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[start:stop, start:stop] = True
    return mask


def test_errors_count_the_hole_alone() -> None:
    original, mask = torch.rand(3, 32, 32), square()
    filled = original.clone()
    filled[:, ~mask] = 0
    assert psnr(filled, original, mask) == layout_psnr(filled, original, mask) == math.inf
    assert l1(filled, original, mask) == l2(filled, original, mask) == 0
    filled[:, mask] += 0.1
    assert psnr(filled, original, mask) == pytest.approx(20, abs=1e-4)
    assert l1(filled, original, mask) == pytest.approx(0.1, abs=1e-6)
    assert l2(filled, original, mask) == pytest.approx(0.01, abs=1e-6)


def test_layout_is_blind_to_texture_and_sees_a_shift_of_colour() -> None:
    mask = square(64, 16, 48)
    original = torch.rand(3, 64, 64)
    chequered = torch.full((3, 64, 64), 0.5)
    chequered[:, ::2, ::2] = chequered[:, 1::2, 1::2] = 0.7
    smooth = torch.full((3, 64, 64), 0.6)
    assert layout_psnr(chequered, smooth, mask) > 100
    shifted = torch.where(mask, original + 0.1, original)
    assert layout_psnr(shifted, original, mask) == pytest.approx(20, abs=1e-3)
    assert layout_psnr(shifted, original, square(64, 20, 45)) == pytest.approx(20, abs=1e-3)  # squares in part


def test_ssim() -> None:
    original, mask = torch.rand(3, 64, 64), square(64, 16, 48)
    assert ssim(original, original, mask) == pytest.approx(1)
    noisy = torch.where(mask, torch.rand(3, 64, 64), original)
    assert ssim(noisy, original, mask) < 0.2 < 0.95 < ssim(noisy, original, square(64, 0, 8))


def test_gradient_of_a_ramp_is_its_slope() -> None:
    image = torch.linspace(0, 1, 21).expand(3, 10, 21)
    assert gradient_magnitude(image, torch.ones(10, 21, dtype=torch.bool)) == pytest.approx(0.05, rel=1e-5)


def test_blur_has_less_gradient() -> None:
    image = torch.rand(3, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(image, 3, 1, 1)
    mask = torch.ones(32, 32, dtype=torch.bool)
    assert gradient_magnitude(blurred, mask) < 0.5 * gradient_magnitude(image, mask)


def test_border_step_is_the_height_of_the_step() -> None:
    mask = square()
    image = torch.where(mask, 0.7, 0.4).expand(3, 32, 32)
    assert border_step(image, mask) == pytest.approx(0.3, abs=1e-6)
    assert border_step(image, square(32, 10, 22)) == 0


def test_all_measures_of_equal_images() -> None:
    original = torch.rand(3, 32, 32)
    values = measures(original, original, square())
    assert tuple(values) == METRICS
    assert values["psnr_db"] == values["layout_db"] == math.inf
    assert values["l1_percent"] == values["l2_percent"] == 0
    assert [values[name] for name in ("ssim", "sharpness", "seam")] == pytest.approx([1, 1, 1])
    flat = torch.full((3, 32, 32), 0.5)
    assert math.isnan(measures(original, flat, square())["sharpness"])  # nothing to be as sharp as
