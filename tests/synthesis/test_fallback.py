"""Which layers and patches are taken where the usual ones are too large for what is known."""

from __future__ import annotations

import pytest
import torch

from neuralpatch_cuda.networks.texture import TORCHVISION_NORMALISATION, TextureNetwork
from neuralpatch_cuda.synthesis.fallback import find_patches
from neuralpatch_cuda.synthesis.sources import Exemplar, Sources


def network(*layers: str) -> TextureNetwork:
    return TextureNetwork("vgg16", layers, TORCHVISION_NORMALISATION)


def known_frame(width: int, side: int = 64) -> torch.Tensor:
    """A hole that leaves so many pixels around it."""
    hole = torch.zeros(side, side, dtype=torch.bool)
    hole[width:-width, width:-width] = True
    return hole


@pytest.mark.parametrize(
    ("frame", "size", "layers", "chosen"),
    [
        (16, 3, ("relu3_1", "relu4_1"), (("relu3_1", "relu4_1"), 3)),  # patches of 12 px
        (12, 3, ("relu3_1",), (("relu3_1",), 3)),
        (8, 3, ("relu3_1", "relu4_1"), (("relu2_1",), 3)),  # of 6 px
        (4, 3, ("relu3_1", "relu4_1"), (("relu1_1",), 3)),  # of 3 px
        (2, 3, ("relu3_1", "relu4_1"), None),
        (6, 7, ("relu3_1",), (("relu1_1",), 5)),  # earlier layers first, then smaller patches
        (8, 7, ("relu3_1",), (("relu1_1",), 7)),
        (4, 1, ("relu3_1",), (("relu3_1",), 1)),
        (3, 1, ("relu3_1",), (("relu2_1",), 1)),
    ],
)
def test_the_first_choice_that_fits(
    frame: int, size: int, layers: tuple[str, ...], chosen: tuple[tuple[str, ...], int] | None
) -> None:
    hole = known_frame(frame)
    wanted = network(*layers)
    found = find_patches(wanted, size, hole, Sources(torch.ones_like(hole)))
    assert (found and (found[0].layers, found[1])) == chosen
    if chosen == (layers, size):
        assert found is not None and found[0] is wanted


def test_a_few_patches_are_too_few() -> None:
    hole = torch.ones(200, 200, dtype=torch.bool)
    hole[:, :16] = False  # patches of 6 px, but for one of 12 px
    hole[:, 8::16] = True
    hole[60:72, :12] = False
    found = find_patches(network("relu3_1"), 3, hole, Sources(torch.ones_like(hole)))
    assert found is not None and found[0].layers == ("relu1_1",)


def test_an_exemplar_has_patches_of_its_own() -> None:
    hole = known_frame(1)
    exemplar = Exemplar.whole(torch.rand(3, 40, 40))
    wanted = network("relu3_1")
    assert find_patches(wanted, 3, hole, Sources(torch.ones_like(hole), (exemplar,))) == (wanted, 3)


def test_a_window_smaller_than_a_cell() -> None:
    hole = torch.zeros(5, 40, dtype=torch.bool)
    hole[:, 10:14] = True
    found = find_patches(network("relu4_1"), 3, hole, Sources(torch.ones_like(hole)))
    assert found is not None and found[0].layers == ("relu1_1",)
