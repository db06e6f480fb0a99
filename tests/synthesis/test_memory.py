"""Features are computed in tiles where the budget asks for it, and the tiles fit into it."""

from __future__ import annotations

import pytest
import torch

from neuralpatch_cuda.networks.texture import TORCHVISION_NORMALISATION, TextureNetwork
from neuralpatch_cuda.synthesis.memory import BOX_VALUES, LEAST_SIDE, TILE_VALUES, WINDOW_VALUES, tile_side
from neuralpatch_cuda.synthesis.tiles import margin

CPU = torch.device("cpu")
WINDOW, BOX = 2048**2, 1024**2


@pytest.fixture(scope="module")
def network() -> TextureNetwork:
    return TextureNetwork("vgg16", ("relu3_1", "relu4_1"), TORCHVISION_NORMALISATION).to(torch.bfloat16)


def test_what_fits_is_not_tiled(network: TextureNetwork) -> None:
    needed = 2 * max(WINDOW_VALUES * WINDOW, BOX_VALUES * BOX)
    assert tile_side(network, WINDOW, BOX, needed, CPU) is None
    assert tile_side(network, WINDOW, BOX, needed - 2, CPU) is not None


def test_tiles_fit_with_their_margins(network: TextureNetwork) -> None:
    budget = 500 * 10**6
    side = tile_side(network, WINDOW, BOX, budget, CPU)
    assert side is not None and LEAST_SIDE < side < 1024
    assert 0.99 * budget < 2 * TILE_VALUES * (side + 2 * margin(network) + 1) ** 2 < 1.01 * budget


def test_tiles_are_never_mostly_margin(network: TextureNetwork) -> None:
    assert tile_side(network, WINDOW, BOX, 1, CPU) == LEAST_SIDE


def test_wider_numbers_need_smaller_tiles() -> None:
    layers = ("relu3_1",)
    wide, narrow = (
        TextureNetwork("vgg16", layers, TORCHVISION_NORMALISATION).to(dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    sides = [tile_side(network, WINDOW, BOX, 300 * 10**6, CPU) for network in (wide, narrow)]
    assert sides[0] is not None and sides[1] is not None and sides[0] < sides[1]


def test_without_a_budget_half_of_the_free_memory_is_used(
    network: TextureNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 2 * max(WINDOW_VALUES * WINDOW, BOX_VALUES * BOX)
    for free, tiled in ((2 * needed, False), (2 * needed - 8, True)):
        monkeypatch.setattr("neuralpatch_cuda.synthesis.memory.free_bytes", lambda device, free=free: free)
        assert (tile_side(network, WINDOW, BOX, None, CPU) is not None) == tiled
