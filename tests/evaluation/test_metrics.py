import math

import numpy as np
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
    stray_colours,
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


# Stray colour. CIE Lab of the sRGB primaries, as in the tables of Bruce Lindbloom (D65).
LAB = {
    (0, 0, 0): (0, 0, 0),
    (1, 1, 1): (100, 0, 0),
    (1, 0, 0): (53.2408, 80.0925, 67.2032),
    (0, 1, 0): (87.7347, -86.1827, 83.1793),
    (0, 0, 1): (32.2970, 79.1875, -107.8602),
}


def painted(colour: tuple[float, ...], mask: Tensor, around: Tensor) -> Tensor:
    return torch.where(mask, torch.tensor(colour)[:, None, None], around)


@pytest.mark.parametrize("known", LAB)
@pytest.mark.parametrize("colour", [(1.0, 0, 0), (0, 1.0, 0), (1.0, 1, 1)])
def test_a_stray_colour_is_as_far_as_it_is_in_lab(colour: tuple[int, ...], known: tuple[int, ...]) -> None:
    mask = square(96, 20, 76)
    around = painted(known, ~mask, torch.rand(3, 96, 96))
    distances = stray_colours(painted(colour, mask, around), mask)
    assert distances.shape == (56 * 56,)
    assert distances.max() == pytest.approx(
        math.dist(LAB[colour], LAB[known]), abs=0.02
    )  # where the blur sees it alone


def test_stray_colours_near_the_border_are_mixed_in_the_hole_alone() -> None:
    """White in the right half of black: lightness is the share of white under the Gaussian, and black is known."""
    mask = torch.arange(80).expand(50, 80) >= 40
    weights = np.exp(-(np.arange(-16, 17) ** 2) / (2 * 4**2))
    weights /= weights.sum()
    shares = [weights[max(0, 16 - inside) :].sum() for inside in range(40)]
    distances = stray_colours(mask.float().expand(3, 50, 80), mask).reshape(50, 40)
    np.testing.assert_allclose(distances, 100 * np.tile(shares, (50, 1)), atol=0.02)
    values = measures(mask.float().expand(3, 50, 80), torch.rand(3, 50, 80), mask)
    assert values["stray_mean"] == pytest.approx(100 * np.mean(shares), abs=0.02)
    assert values["stray_p95"] == pytest.approx(100, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_the_photograph_has_is_no_stray_colour(dtype: torch.dtype) -> None:
    mask = square(96, 32, 64)
    flat = torch.full((3, 96, 96), 0.3, dtype=dtype)
    stripes = (torch.arange(96) % 6 < 3).to(dtype).expand(3, 96, 96)  # the blur of the hole is that of the rest
    ramp = torch.linspace(0, 1, 96, dtype=dtype).expand(3, 96, 96)
    for image in (flat, stripes):
        assert stray_colours(image, mask).max() < 1e-3
    assert stray_colours(ramp, mask).max() < 0.1  # every row goes through all greys
    strange = painted((0.3, 0.5, 0.3), mask, flat).to(dtype)
    assert np.median(stray_colours(strange, mask)) > 10
    bright = stray_colours(torch.where(mask, 0.9, flat), mask)
    assert stray_colours(torch.where(mask & (torch.arange(96) > 50), 0.9, flat), mask).mean() < bright.mean()


def test_stray_colours_of_extreme_masks() -> None:
    image = torch.rand(3, 24, 24)
    everything = torch.ones(24, 24, dtype=torch.bool)
    assert stray_colours(image, everything).size == stray_colours(image, ~everything).size == 0
    for mask in (everything, ~everything):
        values = measures(image, image, mask)
        assert math.isnan(values["stray_mean"]) and math.isnan(values["stray_p95"])
    one = ~everything
    one[0, 0] = True
    assert stray_colours(image, one).shape == (1,)
    assert stray_colours(torch.zeros(3, 24, 24), ~one).max() < 1e-3  # a single pixel is known


def test_all_measures_of_equal_images() -> None:
    original = torch.rand(3, 32, 32)
    values = measures(original, original, square())
    assert tuple(values) == METRICS
    assert values["psnr_db"] == values["layout_db"] == math.inf
    assert values["l1_percent"] == values["l2_percent"] == 0
    assert [values[name] for name in ("ssim", "sharpness", "seam")] == pytest.approx([1, 1, 1])
    flat = torch.full((3, 32, 32), 0.5)
    assert math.isnan(measures(original, flat, square())["sharpness"])  # nothing to be as sharp as
