"""The paper's network draws the centre of a square frame, wherever the hole was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neuralpatch_cuda.networks.context_encoder import ContextEncoder, ContextEncoderConfig, Square, hole_square


@pytest.fixture(scope="module")
def network() -> ContextEncoder:
    torch.manual_seed(0)
    return ContextEncoder(ContextEncoderConfig(width=4, bottleneck=16)).eval().requires_grad_(False)


def picture(height: int, width: int, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 1, height, width)
    mask[..., rows, columns] = 1
    return image, mask


def test_the_default_is_the_authors() -> None:
    with torch.device("meta"):
        network = ContextEncoder()
    convolutions = sum(p.numel() for p in network.parameters() if p.ndim == 4)
    assert convolutions / 1e6 == pytest.approx(71.1, abs=0.05)
    shapes = {tuple(p.shape) for p in network.parameters()}
    assert (4000, 512, 4, 4) in shapes


def test_the_centre_of_a_frame_goes_through_as_it_is(network: ContextEncoder) -> None:
    image, mask = picture(128, 128, slice(32, 96), slice(32, 96))
    colour = torch.tensor([117, 104, 123]).view(1, 3, 1, 1) / 255
    drawn = network.decoder(network.encoder(2 * torch.where(mask > 0, colour, image) - 1))
    assert drawn.shape == (1, 3, 64, 64)
    torch.testing.assert_close(network(image, mask)[..., 32:96, 32:96], (drawn + 1) / 2)


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((128, 128), slice(0, 40), slice(90, 128)),
        ((90, 200), slice(3, 87), slice(20, 35)),
        ((64, 48), slice(0, 64), slice(0, 48)),
        ((20, 20), slice(7, 8), slice(9, 12)),
    ],
)
def test_any_hole_is_filled_and_nothing_else(
    network: ContextEncoder, size: tuple[int, int], rows: slice, columns: slice
) -> None:
    image, mask = picture(*size, rows, columns)
    out = network(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(out[known], image[known])
    assert out.isfinite().all()
    assert (out[~known] != image[~known]).all()
    other = torch.where(mask > 0, 1 - image, image)
    assert torch.equal(network(other, mask)[~known], out[~known])  # what is in the hole is not seen


def test_each_image_of_a_batch_has_its_own_frame(network: ContextEncoder) -> None:
    a, b = picture(128, 128, slice(32, 96), slice(32, 96)), picture(128, 128, slice(4, 30), slice(50, 90))
    both = network(torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]]))
    torch.testing.assert_close(both, torch.cat([network(*a), network(*b)]))


def test_a_mask_without_a_hole_changes_nothing(network: ContextEncoder) -> None:
    image, mask = picture(40, 40, slice(0, 0), slice(0, 0))
    assert torch.equal(network(image, mask), image)


@pytest.mark.parametrize(
    ("rows", "columns", "square"),
    [
        (slice(4, 8), slice(4, 8), Square(4, 4, 4)),
        (slice(4, 8), slice(0, 10), Square(1, 0, 10)),
        (slice(2, 5), slice(3, 4), Square(1, 1, 4)),
        (slice(0, 2), slice(0, 8), Square(-3, 0, 8)),
    ],
)
def test_hole_square(rows: slice, columns: slice, square: Square) -> None:
    hole = torch.zeros(12, 12, dtype=torch.bool)
    hole[rows, columns] = True
    assert hole_square(hole) == square
