"""The content network fills the hole, and nothing but the hole, from what is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from neuralpatch_cuda.evaluation.metrics import gradient_magnitude, psnr
from neuralpatch_cuda.networks.content import ContentConfig, ContentNetwork
from neuralpatch_cuda.networks.weights import load_content_network, save_content_network

SMALL = ContentConfig(width=16, dilations=(1, 2))


@pytest.fixture(scope="module")
def network() -> ContentNetwork:
    torch.manual_seed(0)
    network = ContentNetwork(SMALL).eval().requires_grad_(False)
    for name, parameter in network.trunk.named_parameters():
        if name.endswith("conv2.weight"):
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def picture(height: int = 40, width: int = 48, batch: int = 1) -> tuple[Tensor, Tensor]:
    """An image of noise and a mask with a hole in it, away from the borders."""
    image = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(batch, 1, height, width)
    mask[..., height // 4 : height // 2, width // 3 : 2 * width // 3] = 1
    return image, mask


def test_known_pixels_pass_through(network: ContentNetwork) -> None:
    image, mask = picture(batch=2)
    out = network(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(out[known], image[known])
    assert (out[~known] != image[~known]).all()


def test_values_inside_the_hole_do_not_matter(network: ContentNetwork) -> None:
    image, mask = picture()
    other = torch.where(mask > 0, torch.full_like(image, 0.9), image)
    assert torch.equal(network(image, mask), network(other, mask))


def test_noise_takes_the_place_of_the_hole_and_is_always_the_same_but_in_training() -> None:
    torch.manual_seed(0)
    network = ContentNetwork(replace(SMALL, noise=0.5)).requires_grad_(False)
    image, mask = picture()
    first, second = network(image, mask), network(image, mask)
    hole = (mask > 0).expand_as(image)
    assert (first != second)[hole].all()
    assert torch.equal(first[~hole], image[~hole])
    network.eval()
    assert torch.equal(network(image, mask), network(image, mask))
    quiet = ContentNetwork(SMALL).eval().requires_grad_(False)
    quiet.load_state_dict(network.state_dict())
    assert (quiet(image, mask) != network(image, mask))[hole].all()


def test_what_is_known_matters(network: ContentNetwork) -> None:
    image, mask = picture()
    hole = (mask > 0).expand_as(image)
    other = torch.where(mask > 0, image, 1 - image)
    assert (network(image, mask) - network(other, mask))[hole].abs().max() > 1e-4


def test_a_mask_without_a_hole_changes_nothing(network: ContentNetwork) -> None:
    image, mask = picture()
    assert torch.equal(network(image, torch.zeros_like(mask)), image)


def test_all_of_the_image_may_be_a_hole(network: ContentNetwork) -> None:
    image, mask = picture()
    assert network(image, torch.ones_like(mask)).isfinite().all()


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 1), (33, 20), (41, 128), (128, 41), (16, 200)])
def test_any_size_and_aspect_ratio(network: ContentNetwork, size: tuple[int, int]) -> None:
    image, mask = picture(*size)
    out = network(image, mask)
    assert out.shape == image.shape
    assert out.isfinite().all()


def test_each_image_of_a_batch_is_its_own(network: ContentNetwork) -> None:
    image, mask = picture(batch=3)
    torch.testing.assert_close(network(image, mask)[1:2], network(image[1:2], mask[1:2]))


def test_the_prediction_reaches_every_weight_with_a_gradient() -> None:
    torch.manual_seed(0)
    network = ContentNetwork(SMALL)
    for _, parameter in network.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    image, mask = picture()
    network(image, mask).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_new_network_starts_with_an_identity_trunk() -> None:
    x = torch.rand(1, 16, 6, 6)
    assert torch.equal(ContentNetwork(SMALL).trunk(x), x)


def test_save_and_load(network: ContentNetwork, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save_content_network(network, path)
    assert [file.name for file in tmp_path.iterdir()] == ["small.safetensors"]
    loaded = load_content_network(path)
    assert loaded.config == SMALL
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name
    image, mask = picture()
    torch.testing.assert_close(loaded(image, mask), network(image, mask), atol=5e-3, rtol=0)
    save_content_network(loaded, path)  # over the first one
    assert load_content_network(str(path)).config == SMALL


def example_crops() -> list[tuple[Tensor, Tensor]]:
    """The example photograph with a hole in three places: image `[1, 3, 128, 192]` and mask."""
    photo = Image.open(Path(__file__).parents[2] / "examples" / "photo.jpg").convert("RGB").resize((192, 128))
    image = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    masks = [torch.zeros(1, 1, 128, 192) for _ in range(3)]
    for mask, left in zip(masks, (16, 64, 112), strict=True):
        mask[..., 40:88, left : left + 48] = 1
    return [(image, mask) for mask in masks]


@pytest.mark.parametrize("name", ["content-l2", "content-adv"])
def test_the_embedded_networks_know_photographs(name: str) -> None:
    """They are nearer to what a hole hid than the mean colour of its surroundings is."""
    network = load_content_network(name)
    gain = []
    for image, mask in example_crops():
        hole = mask[0, 0] > 0
        mean = torch.where(mask > 0, image[..., ~hole].mean(-1)[..., None, None], image)
        gain.append(psnr(network(image, mask)[0], image[0], hole) - psnr(mean[0], image[0], hole))
    assert np.mean(gain) > 2


def test_the_adversary_makes_predictions_sharper() -> None:
    l2, adversarial = map(load_content_network, ("content-l2", "content-adv"))
    assert replace(l2.config, noise=adversarial.config.noise) == adversarial.config

    def sharpness(network: ContentNetwork) -> float:
        return sum(gradient_magnitude(network(i, m)[0], m[0, 0] > 0) for i, m in example_crops())

    assert sharpness(adversarial) > 1.5 * sharpness(l2)
