"""Features are computed in tiles where the budget asks for it, and the tiles fit into it."""

from __future__ import annotations

import math

import pytest
import torch

from neuralpatch_cuda.networks.texture import TORCHVISION_NORMALISATION, TextureNetwork
from neuralpatch_cuda.synthesis.memory import (
    BOX_VALUES,
    LEAST_SIDE,
    MAP_VALUES,
    MOST_PIXELS,
    MOST_SIDE,
    PICTURE_BYTES,
    STATE_BYTES,
    TILE_VALUES,
    WINDOW_VALUES,
    tile_side,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
WINDOW, BOX = 2048**2, 1024**2
KNOWN = WINDOW * (256 / 16 + 512 / 64)
OTHER = PICTURE_BYTES * WINDOW + STATE_BYTES * BOX


@pytest.fixture(scope="module")
def network() -> TextureNetwork:
    return TextureNetwork("vgg16", ("relu3_1", "relu4_1"), TORCHVISION_NORMALISATION).to(torch.bfloat16)


def test_what_fits_is_not_tiled(network: TextureNetwork) -> None:
    needed = OTHER + 2 * round(KNOWN + max(WINDOW_VALUES * WINDOW, BOX_VALUES * BOX))
    assert tile_side(network, WINDOW, BOX, needed, GPU) is None
    assert tile_side(network, WINDOW, BOX, needed - 2, GPU) is not None


def test_tiles_fit_beside_what_is_kept(network: TextureNetwork) -> None:
    kept = OTHER + 2 * round(KNOWN + MAP_VALUES * BOX)
    side = tile_side(network, WINDOW, BOX, kept + 100 * 10**6, CPU)
    assert side == math.isqrt(5 * 10**7 // TILE_VALUES)


def test_tiles_are_neither_tiny_nor_huge(network: TextureNetwork, caplog: pytest.LogCaptureFixture) -> None:
    assert tile_side(network, WINDOW, BOX, 1, CPU) == LEAST_SIDE
    needed = (OTHER + 2 * round(KNOWN + MAP_VALUES * BOX + TILE_VALUES * LEAST_SIDE**2)) / 1e6
    assert f"about {needed:.0f} MB, more than the memory budget" in caplog.text
    assert tile_side(network, 100 * WINDOW, 100 * BOX, 10**12 // 8, CPU) == MOST_SIDE


def test_wider_numbers_need_smaller_tiles() -> None:
    layers = ("relu3_1",)
    wide, narrow = (
        TextureNetwork("vgg16", layers, TORCHVISION_NORMALISATION).to(dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    sides = [tile_side(network, WINDOW, BOX, 1300 * 10**6, CPU) for network in (wide, narrow)]
    assert sides[0] is not None and sides[1] is not None and sides[0] < sides[1]


def test_on_the_cpu_large_boxes_are_tiled_however_much_memory_there_is(network: TextureNetwork) -> None:
    assert tile_side(network, WINDOW, MOST_PIXELS, 10**11, CPU) is None
    assert tile_side(network, WINDOW, MOST_PIXELS + 1, 10**11, CPU) == MOST_SIDE
