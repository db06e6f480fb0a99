"""The discriminator judges patches, and sees the mask."""

from __future__ import annotations

import pytest
import torch

from neuralpatch_cuda.networks.discriminator import PATCH, STRIDE, PatchDiscriminator, judged


@pytest.fixture(scope="module")
def network() -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(width=8).eval()


def test_one_verdict_per_cell(network: PatchDiscriminator) -> None:
    judgement = network(torch.rand(2, 3, 64, 96), torch.zeros(2, 1, 64, 96))
    assert judgement.logits.shape == (2, 1, 64 // STRIDE, 96 // STRIDE)
    assert [f.shape[1] for f in judgement.features] == [8, 16, 32, 32]


def test_a_verdict_depends_on_its_patch_alone(network: PatchDiscriminator) -> None:
    image = torch.rand(1, 3, 128, 128, requires_grad=True)
    row, column = 7, 8
    network(image, torch.zeros(1, 1, 128, 128)).logits[0, 0, row, column].backward()
    assert image.grad is not None
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    columns = image.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    assert len(rows) == len(columns) == PATCH
    middle = (row + 0.5) * STRIDE
    assert abs((rows[0] + rows[-1] + 1) / 2 - middle) <= STRIDE / 2


def test_the_mask_is_seen(network: PatchDiscriminator) -> None:
    image = torch.rand(1, 3, 64, 64)
    assert not torch.equal(
        network(image, torch.zeros(1, 1, 64, 64)).logits, network(image, torch.ones(1, 1, 64, 64)).logits
    )


def test_judged_is_the_share_of_the_hole() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :12] = 1
    assert judged(mask).tolist() == [[[[1.0, 0.5], [0.0, 0.0]]]]
