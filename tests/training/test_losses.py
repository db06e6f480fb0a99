"""The losses have the values that their definitions give."""

from __future__ import annotations

import math

import pytest
import torch

from neuralpatch_cuda.networks.texture import TORCHVISION_NORMALISATION, TextureNetwork
from neuralpatch_cuda.training.losses import (
    absolute_error,
    adversarial_loss,
    feature_distance,
    gradient_penalty,
    log_squared_error,
    mean_in,
    perceptual_distance,
    pixel_weight,
    squared_error,
)


def hole(side: int, start: int, stop: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, side, side)
    mask[..., start:stop, start:stop] = 1
    return mask


def test_a_small_hole_counts_as_a_large_one() -> None:
    mask = torch.cat([hole(16, 4, 6), hole(16, 2, 14)])
    values = torch.cat([torch.full((1, 3, 16, 16), 1.0), torch.full((1, 3, 16, 16), 3.0)])
    assert mean_in(values, mask).item() == pytest.approx(2.0)


def test_errors_are_those_inside_the_hole() -> None:
    mask = hole(16, 4, 12)
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    filled = torch.where(mask > 0, image + 0.25, image - 0.5)
    assert squared_error(filled, image, mask).item() == pytest.approx(0.0625, rel=1e-5)
    assert absolute_error(filled, image, mask).item() == pytest.approx(0.25, rel=1e-5)


def test_the_logarithm_counts_every_image_by_its_own_scale() -> None:
    mask = torch.cat([hole(16, 4, 12), hole(16, 2, 5)])
    image = torch.zeros(2, 3, 16, 16)
    filled = torch.cat([torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.05)]).requires_grad_()
    loss = log_squared_error(filled, image, mask)
    assert loss.item() == pytest.approx((math.log(0.25 + 1e-3) + math.log(0.0025 + 1e-3)) / 2, rel=1e-5)
    loss.backward()
    assert filled.grad is not None
    # The share of an image in the gradient is 2 e / (e^2 + 0.001), over its error e.
    shares = [filled.grad[i].sum().item() for i in range(2)]
    assert shares == pytest.approx([0.5 / 0.251, 0.05 / 0.0035], rel=1e-4)


def test_the_band_along_the_edge_counts_more() -> None:
    mask = hole(16, 3, 13)
    weight = pixel_weight(mask, overlap=2, overlap_weight=10)
    assert torch.equal(weight > 0, mask > 0)
    assert weight.unique().tolist() == [0, 1, 10]
    assert torch.equal(weight == 1, hole(16, 5, 11) > 0)
    assert torch.equal(pixel_weight(mask, overlap=2, overlap_weight=1), mask)
    assert torch.equal(pixel_weight(mask, overlap=0, overlap_weight=10), mask)


def test_a_hole_at_the_border_of_the_image_has_no_band_there() -> None:
    weight = pixel_weight(hole(16, 0, 8), overlap=2, overlap_weight=10)
    assert weight[0, 0, 0, 0] == 1
    assert weight[0, 0, 7, 0] == 10


def test_the_cross_entropy_is_of_the_difference_of_two_verdicts() -> None:
    real, fake, weight = torch.full((2, 1, 4, 4), 2.0), torch.full((2, 1, 4, 4), 0.5), torch.ones(2, 1, 4, 4)
    assert adversarial_loss(real, fake, weight).item() == pytest.approx(math.log1p(math.exp(-1.5)))
    assert adversarial_loss(fake, real, weight).item() == pytest.approx(math.log1p(math.exp(1.5)))


def test_patches_outside_the_hole_are_not_judged() -> None:
    real, fake, weight = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), hole(4, 1, 3)
    elsewhere = torch.where(weight > 0, fake, fake + 7)
    assert adversarial_loss(real, elsewhere, weight) == adversarial_loss(real, fake, weight)


def test_the_gradient_penalty_is_that_of_a_verdict_whose_slope_is_known() -> None:
    slope = torch.tensor(3.0, requires_grad=True)
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    weight = torch.cat([hole(8, 2, 4), hole(8, 0, 8)])
    penalty = gradient_penalty(slope * images.mean(1, keepdim=True), weight, images)
    # Each judged pixel's verdict has the slope 3 / 3 in each of its three channels.
    assert penalty.item() == pytest.approx(3.0)
    penalty.backward()
    assert slope.grad is not None
    assert slope.grad.item() == pytest.approx(2.0)


def test_feature_distance_is_zero_for_equal_features_and_has_no_gradient_for_the_wanted() -> None:
    a = [torch.rand(1, 2, 4, 4, requires_grad=True) for _ in range(2)]
    b = [x.detach().clone().requires_grad_() + 0.5 for x in a]
    assert feature_distance(a, a).item() == 0
    loss = feature_distance(a, b)
    assert loss.item() == pytest.approx(0.5, rel=1e-5)
    loss.backward()
    assert all(x.grad is not None for x in a)


def test_perceptual_distance_is_relative_and_reaches_the_prediction() -> None:
    torch.manual_seed(0)
    texture = TextureNetwork("vgg16", ["relu1_1", "relu2_1"], TORCHVISION_NORMALISATION)
    image = torch.rand(1, 3, 16, 16)
    assert perceptual_distance(texture, image, image).item() == 0
    prediction = (1 - image).requires_grad_()
    loss = perceptual_distance(texture, prediction, image)
    loss.backward()
    assert loss.item() > 0.1
    assert prediction.grad is not None
    assert prediction.grad.abs().max() > 0
