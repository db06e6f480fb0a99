import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from neuralpatch_cuda.evaluation.metrics import border_step
from neuralpatch_cuda.networks.texture import TextureNetwork
from neuralpatch_cuda.networks.weights import load_texture_network
from neuralpatch_cuda.synthesis import scale
from neuralpatch_cuda.synthesis.scale import LOOK_EVERY, ScaleSettings, synthesise

PHOTO = Path(__file__).parents[2] / "examples" / "photo.jpg"
SETTINGS = ScaleSettings(
    alpha=1,
    beta=0.01,
    content_weight=1,
    iterations=8,
    rematch_every=0,
    tolerance=0,
    patch_size=3,
    optimizer="lbfgs",
)


@pytest.fixture(scope="module")
def network() -> TextureNetwork:
    return load_texture_network("vgg16", ("relu2_1", "relu3_1"))


@pytest.fixture
def stripes() -> tuple[Tensor, Tensor, Tensor]:
    """A striped photograph, the hole in it, and the photograph with grey in the hole."""
    x = torch.arange(96).float()
    photo = (0.5 + 0.4 * torch.sin(x / 3)).expand(3, 96, 96).clone()
    mask = torch.zeros(96, 96, dtype=torch.bool)
    mask[36:60, 36:60] = True
    return photo, mask, torch.where(mask, 0.5, photo)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_loss_falls(network: TextureNetwork, stripes: tuple[Tensor, Tensor, Tensor], optimizer: str) -> None:
    _, mask, start = stripes
    losses = synthesise(network, start, mask, replace(SETTINGS, optimizer=optimizer)).losses
    assert len(losses) == SETTINGS.iterations
    assert losses[-1] < 0.7 * losses[0]


def test_a_texture_is_continued_into_the_hole(network: TextureNetwork, stripes: tuple[Tensor, Tensor, Tensor]) -> None:
    photo, mask, start = stripes
    settings = replace(SETTINGS, iterations=60, rematch_every=10, content_weight=0)
    result = synthesise(network, start, mask, settings)
    before, after = ((x - photo)[:, mask].square().mean() for x in (start, result.image))
    assert after < 0.3 * before
    assert len(result.scores) == 6 and result.scores[-1] > result.scores[0]


def test_a_small_memory_budget_changes_nothing(network: TextureNetwork) -> None:
    with Image.open(PHOTO) as picture:
        pixels = np.asarray(picture.convert("RGB").resize((300, 200)).crop((40, 0, 240, 190)))
    photo = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255
    mask = torch.zeros(photo.shape[1:], dtype=torch.bool)
    mask[50:150, 60:170] = True
    start = torch.where(mask, photo[:, ~mask].mean(1)[:, None, None], photo)
    settings = replace(SETTINGS, iterations=4)
    whole = synthesise(network, start, mask, settings)
    tiled = synthesise(network, start, mask, replace(settings, memory_budget=10**6))
    assert torch.equal(whole.image, tiled.image)
    assert (whole.image - start).abs().max() > 0.1


def test_known_pixels_are_untouched(network: TextureNetwork, stripes: tuple[Tensor, Tensor, Tensor]) -> None:
    photo, mask, start = stripes
    result = synthesise(network, start, mask, SETTINGS)
    assert torch.equal(result.image[:, ~mask], photo[:, ~mask])
    assert torch.equal(start, torch.where(mask, 0.5, photo)), "the input was changed"


def test_holes_in_opposite_corners_leave_the_input_alone(
    network: TextureNetwork, stripes: tuple[Tensor, Tensor, Tensor]
) -> None:
    photo, mask, _ = stripes
    mask = torch.zeros_like(mask)
    mask[:10, :10] = mask[-10:, -10:] = True  # their box is the whole window
    start = torch.where(mask, 0.5, photo)
    before = start.clone()
    result = synthesise(network, start, mask, SETTINGS)
    assert torch.equal(start, before), "the input was changed"
    assert torch.equal(result.image[:, ~mask], photo[:, ~mask])


def round_hole() -> tuple[Tensor, Tensor, Tensor]:
    """A part of the example photograph, a hole in it, and the same with the hole in the mean colour."""
    with Image.open(PHOTO) as picture:
        pixels = np.asarray(picture.convert("RGB").crop((1000, 330, 1160, 490)))
    photo = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255
    y, x = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    mask = (y - 79).square() + (x - 82).square() < 30**2
    return photo, mask, torch.where(mask, photo[:, ~mask].mean(1)[:, None, None], photo)


def test_the_edge_of_the_hole_carries_no_coloured_line(
    network: TextureNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, mask, start = round_hole()
    edge = mask & (F.max_pool2d((~mask)[None].float(), 3, 1, 1)[0] > 0)

    def line(rim: int) -> float:
        """How far the edge is from the pixels on either side of it."""
        monkeypatch.setattr(scale, "RIM", rim)
        filled = synthesise(network, start, mask, replace(SETTINGS, iterations=30, rematch_every=10)).image
        around = (F.avg_pool2d(filled, 3, 1, 1) * 9 - filled) / 8
        return float((filled - around)[:, edge].square().mean())

    assert line(scale.RIM) < 0.5 * line(0)


def test_a_heavy_content_weight_holds_on_to_the_reference(
    network: TextureNetwork, stripes: tuple[Tensor, Tensor, Tensor]
) -> None:
    _, mask, start = stripes

    def change(weight: float) -> float:
        settings = replace(SETTINGS, iterations=30, content_weight=weight)
        return float((synthesise(network, start, mask, settings).image - start).square().mean())

    assert change(1e4) < 0.05 * change(0)


def test_total_variation_smooths(network: TextureNetwork, stripes: tuple[Tensor, Tensor, Tensor]) -> None:
    photo, mask, _ = stripes
    noisy = torch.where(mask, torch.rand(photo.shape, generator=torch.Generator().manual_seed(0)), photo)

    def roughness(beta: float) -> float:
        settings = replace(SETTINGS, iterations=30, alpha=0, content_weight=0.1, beta=beta)
        inner = synthesise(network, noisy, mask, settings).image[:, 37:59, 37:59]
        return float((inner[..., 1:] - inner[..., :-1]).square().mean())

    assert roughness(1.0) < 0.5 * roughness(0.001)


def test_bf16_comes_close_to_fp32(stripes: tuple[Tensor, Tensor, Tensor]) -> None:
    _, mask, start = stripes
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        network = load_texture_network("vgg16", ("relu2_1", "relu3_1")).to(dtype)
        losses.append(synthesise(network, start, mask, SETTINGS).losses)
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_a_callback_ends_it(network: TextureNetwork, stripes: tuple[Tensor, Tensor, Tensor]) -> None:
    _, mask, start = stripes
    result = synthesise(network, start, mask, SETTINGS, on_iteration=lambda iteration, iterations, loss: iteration < 2)
    assert len(result.losses) == 3


def test_a_scale_ends_when_the_loss_hardly_falls(
    network: TextureNetwork, stripes: tuple[Tensor, Tensor, Tensor]
) -> None:
    _, mask, start = stripes
    settings = replace(SETTINGS, iterations=200, tolerance=0.02)
    losses = synthesise(network, start, mask, settings).losses
    looks = losses[::LOOK_EVERY]
    falls = [1 - after / before for before, after in itertools.pairwise(looks)]
    assert len(losses) < settings.iterations and len(losses) % LOOK_EVERY == 1
    assert falls[-1] < settings.tolerance <= min(falls[:-1])


def test_without_a_hole_nothing_happens(network: TextureNetwork, stripes: tuple[Tensor, Tensor, Tensor]) -> None:
    photo, mask, _ = stripes
    result = synthesise(network, photo, torch.zeros_like(mask), SETTINGS)
    assert torch.equal(result.image, photo) and not result.losses


def test_the_membrane_takes_the_seam_away(network: TextureNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, mask, _ = round_hole()
    too_light = torch.where(mask, photo + 0.1, photo).clamp(max=1)
    settings = replace(SETTINGS, iterations=10, content_weight=100)

    def seam() -> float:
        return border_step(synthesise(network, too_light, mask, settings).image, mask) / border_step(photo, mask)

    with_membrane = seam()
    monkeypatch.setattr(scale, "membrane", lambda values, given: torch.zeros_like(values))
    assert with_membrane < 0.8 * seam()
