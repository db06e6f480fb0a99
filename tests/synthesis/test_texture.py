"""The texture term: its geometry, and that it is the paper's sum over patches."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from neuralpatch_cuda.networks.texture import TextureNetwork
from neuralpatch_cuda.networks.weights import load_texture_network
from neuralpatch_cuda.synthesis.boxes import bounding_box
from neuralpatch_cuda.synthesis.layout import dilate_cells, lay_out
from neuralpatch_cuda.synthesis.search import Searches
from neuralpatch_cuda.synthesis.sources import Sources
from neuralpatch_cuda.synthesis.texture import TextureTerm

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


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_no_candidate_overlaps_the_hole_and_every_query_does(mask: Tensor, stride: int) -> None:
    layout = lay_out(mask, stride, SIZE, torch.ones_like(mask))
    assert layout is not None
    span = SIZE * stride

    def touches(y: int, x: int) -> bool:
        return bool(mask[y * stride : y * stride + span, x * stride : x * stride + span].any())

    free = {(y, x) for y, x in layout.key_masks[0].nonzero().tolist()}
    positions = layout.support.width - SIZE + 1
    queries = {
        (layout.support.top + p // positions, layout.support.left + p % positions)
        for p in layout.query_position.tolist()
    }
    assert not any(touches(y, x) for y, x in free) and all(touches(y, x) for y, x in queries)
    assert len(free) + len(queries) == layout.key_masks[0].numel()


def test_the_voted_loss_has_the_gradient_of_the_papers_sum_over_patches(
    network: TextureNetwork, image: Tensor, mask: Tensor
) -> None:
    box = bounding_box(mask)
    rows, columns = box.slices
    term = TextureTerm(network, image, mask, box, SIZE, 1, Searches(), Sources(torch.ones_like(mask)))
    changed = image.clone()
    changed[:, rows, columns] = torch.rand(3, box.height, box.width, generator=torch.Generator().manual_seed(1))
    term.set_pixels(changed[:, rows, columns])
    term.match()
    _, voted = term.loss_and_gradient()

    changed.requires_grad_()
    known_features = network(image)
    total = torch.zeros(())
    for (name, features), layer in zip(network(changed).items(), term.layers, strict=True):
        patches, whole = (F.unfold(x[None], SIZE)[0] for x in (features, known_features[name]))  # [9C, N]
        free = layer.layout.key_masks[0].flatten()
        mine, known = patches[:, ~free], whole[:, free]
        matched = known[:, (F.normalize(mine, dim=0).T @ F.normalize(known, dim=0)).argmax(1)]
        placed = torch.zeros_like(whole).masked_scatter(~free, matched)
        votes = F.fold(placed, features.shape[1:], SIZE)
        count = F.fold((~free).expand_as(whole).float(), features.shape[1:], SIZE)
        energy = (votes.square() / count.clamp(min=1)).sum()
        total = total + (mine - matched).square().sum() / energy
    (patchwise,) = torch.autograd.grad(total / len(term.layers), changed)
    patchwise = patchwise[:, rows, columns]
    torch.testing.assert_close(voted, patchwise, atol=1e-4 * float(patchwise.abs().max()), rtol=1e-3)


def test_a_layer_without_a_free_patch_is_left_out(network: TextureNetwork, image: Tensor) -> None:
    mask = torch.zeros(24, 24, dtype=torch.bool)
    mask[8:16, 8:16] = True  # of the 6 x 6 cells of relu3_1, a patch of 3 x 3 always touches the middle
    sources = Sources(torch.ones_like(mask))
    term = TextureTerm(network, image[:, :24, :24], mask, bounding_box(mask), SIZE, 1, Searches(), sources)
    assert [layer.name for layer in term.layers] == ["relu2_1"]
