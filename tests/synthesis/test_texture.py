"""The texture term: its geometry, and that it is the paper's sum over patches."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from neuralpatch_cuda.networks.texture import STRIDE, TextureNetwork
from neuralpatch_cuda.networks.weights import load_texture_network
from neuralpatch_cuda.synthesis.texture import TextureTerm, dilate_cells

SIZE = 3


@pytest.fixture(scope="module")
def network() -> TextureNetwork:
    return load_texture_network("vgg16", ("relu2_1", "relu3_1"))


@pytest.fixture
def image() -> Tensor:
    return torch.rand(3, 150, 171, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask() -> Tensor:
    mask = torch.zeros(150, 171, dtype=torch.bool)
    mask[60:85, 101:123] = mask[70:95, 90:104] = True
    return mask


def test_dilate_cells_marks_the_patches_that_touch() -> None:
    cells = torch.zeros(6, 7, dtype=torch.bool)
    cells[3, 4] = True
    expected = torch.zeros(4, 5, dtype=torch.bool)
    expected[1:4, 2:5] = True
    assert torch.equal(dilate_cells(cells, 3), expected)
    assert dilate_cells(cells[:2], 3).shape == (0, 5)


def test_no_candidate_overlaps_the_hole_and_every_query_does(
    network: TextureNetwork, image: Tensor, mask: Tensor
) -> None:
    term = TextureTerm(network, image, mask, SIZE)
    rows, columns = term.crop.slices
    for layer in term.layers:
        stride = STRIDE[layer.name]
        span = SIZE * stride
        for allowed, within, touches in (
            (layer.key_mask, mask, False),
            (layer.query_mask, mask[rows, columns], True),
        ):
            for y, x in allowed.nonzero().tolist():
                patch = within[y * stride : y * stride + span, x * stride : x * stride + span]
                assert bool(patch.any()) == touches


def test_the_crop_gives_the_windows_features_wherever_they_count(
    network: TextureNetwork, image: Tensor, mask: Tensor
) -> None:
    term = TextureTerm(network, image, mask, SIZE)
    assert (term.crop.height, term.crop.width) < image.shape[-2:]
    rows, columns = term.crop.slices
    inside = term.features(image[:, rows, columns])
    term.match(inside)
    for layer in term.layers:
        stride = STRIDE[layer.name]
        assert layer.count is not None
        height, width = layer.count.shape
        whole = layer.key[:, rows.start // stride :, columns.start // stride :][:, :height, :width]
        counted = layer.count > 0
        assert counted.any() and not counted.all()
        torch.testing.assert_close(inside[layer.name][:, counted], whole[:, counted], atol=1e-4, rtol=1e-4)


def test_the_voted_loss_has_the_gradient_of_the_papers_sum_over_patches(
    network: TextureNetwork, image: Tensor, mask: Tensor
) -> None:
    term = TextureTerm(network, image, mask, SIZE)
    rows, columns = term.crop.slices
    pixels = image[:, rows, columns].clone().requires_grad_()
    features = term.features(pixels)
    term.match(features)
    (voted,) = torch.autograd.grad(term.loss(features), pixels)

    total = torch.zeros(())
    features = term.features(pixels)
    for layer in term.layers:
        query = features[layer.name].float()
        mine = F.unfold(query[None], SIZE)[0][:, layer.query_mask.flatten()]  # [9C, Nq]
        known = F.unfold(layer.key[None], SIZE)[0][:, layer.key_mask.flatten()]  # [9C, Nk]
        nearest = (F.normalize(mine, dim=0).T @ F.normalize(known, dim=0)).argmax(1)
        assert layer.energy is not None
        total = total + (mine - known[:, nearest]).square().sum() / layer.energy / len(term.layers)
    (patchwise,) = torch.autograd.grad(total, pixels)
    torch.testing.assert_close(voted, patchwise, atol=1e-4 * float(patchwise.abs().max()), rtol=1e-3)


def test_a_layer_without_a_free_patch_is_left_out(network: TextureNetwork, image: Tensor) -> None:
    mask = torch.zeros(24, 24, dtype=torch.bool)
    mask[8:16, 8:16] = True  # of the 6 x 6 cells of relu3_1, a patch of 3 x 3 always touches the middle
    term = TextureTerm(network, image[:, :24, :24], mask, SIZE)
    assert [layer.name for layer in term.layers] == ["relu2_1"]
