"""The features of a box of changing pixels are those of the whole window, and so are their gradients."""

import pytest
import torch
from torch import Tensor

from neuralpatch_cuda.networks.texture import STRIDE, TORCHVISION_NORMALISATION, TextureNetwork
from neuralpatch_cuda.synthesis.boxes import Box, refit
from neuralpatch_cuda.synthesis.features import Compare, LocalFeatures, reach
from neuralpatch_cuda.synthesis.tiles import TiledFeatures

CASES = {
    "inside": (("relu3_1", "relu4_1"), (150, 171), Box(60, 90, 95, 123), 2),
    "at the top, over the whole width, odd sizes": (("relu1_2", "relu2_1", "relu3_1"), (97, 83), Box(0, 0, 20, 83), 2),
    "in a corner": (("relu2_2", "relu4_1"), (67, 99), Box(50, 60, 67, 99), 2),
    "one pixel, first layer": (("relu1_1",), (40, 40), Box(7, 9, 8, 10), 0),
    "wide support": (("relu2_1", "relu3_3"), (120, 130), Box(40, 41, 60, 72), 7),
    "an odd last row in a tile of its own": (("relu1_2", "relu2_1"), (113, 90), Box(60, 20, 113, 60), 2),
    "narrow support": (("relu3_1", "relu4_1"), (160, 160), Box(50, 51, 90, 92), -1),
}


def comparison(gradients: dict[str, Tensor], supports: dict[str, Box]) -> Compare:
    """With given gradients, whatever the features."""

    def compare(layer: str, features: Tensor, cells: Box, out: Tensor | None) -> Tensor:
        gradient = refit(gradients[layer], supports[layer], cells)
        assert features.shape == gradient.shape
        return gradient if out is None else out.copy_(gradient)

    return compare


@pytest.mark.parametrize("tile", [None, 56, 1000])
@pytest.mark.parametrize("case", CASES)
def test_features_and_gradient_equal_the_whole_networks(case: str, tile: int | None) -> None:
    layers, (height, width), box, margin = CASES[case]
    torch.manual_seed(0)
    network = TextureNetwork("vgg16", layers, TORCHVISION_NORMALISATION).double()
    image = torch.rand(3, height, width, dtype=torch.float64)
    supports = {
        layer: box.coarser(s).grown(margin).intersection(Box(0, 0, height // s, width // s))
        for layer, s in ((layer, STRIDE[layer]) for layer in layers)
    }
    arguments = network, image, box, supports
    local = LocalFeatures(*arguments) if tile is None else TiledFeatures(*arguments, tile)
    for layer, features in network(image).items():
        torch.testing.assert_close(local.known[layer], features)

    rows, columns = box.slices
    for _ in range(2):  # the second time, the buffers hold the first one's values
        changed = image.clone()
        changed[:, rows, columns] = torch.rand(3, box.height, box.width, dtype=torch.float64)
        local.set_pixels(changed[:, rows, columns])
        changed.requires_grad_()
        expected = {layer: whole[(slice(None), *supports[layer].slices)] for layer, whole in network(changed).items()}
        for layer, features in expected.items():
            torch.testing.assert_close(local.values()[layer], features)

        gradients = {layer: torch.randn_like(features) for layer, features in expected.items()}
        torch.autograd.backward(list(expected.values()), list(gradients.values()))
        assert changed.grad is not None
        gradient = changed.grad[:, rows, columns]

        found = local.backward(comparison(gradients, supports)).double()
        torch.testing.assert_close(found, gradient, atol=1e-6 * float(gradient.abs().max()), rtol=1e-5)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """To the bit, but for bfloat16 on processors whose convolutions (AMX) round otherwise for other shapes."""
    amx = getattr(torch.cpu, "get_capabilities", dict)().get("amx_bf16", False)
    if amx and found.dtype == torch.bfloat16:
        close = (found.float() - expected.float()).abs() <= 0.02 * expected.abs().max()
        assert close.float().mean() > 0.999  # where two values of a pooling are equal, another may win
    else:
        assert torch.equal(found, expected)


@pytest.mark.parametrize("box", [Box(40, 60, 163, 190), Box(0, 0, 200, 251)], ids=["inside", "everything"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
def test_tiles_do_not_change_a_bit(dtype: torch.dtype, box: Box) -> None:
    layers = ("relu2_1", "relu3_1", "relu3_2")
    network = TextureNetwork("vgg16", layers, TORCHVISION_NORMALISATION).to(dtype)
    torch.manual_seed(0)
    image, pixels = torch.rand(3, 200, 251), torch.rand(3, box.height, box.width)
    supports = {
        layer: box.coarser(STRIDE[layer]).grown(2).intersection(Box(0, 0, 200 // STRIDE[layer], 251 // STRIDE[layer]))
        for layer in layers
    }
    weight = {layer: torch.randn(len(network(image)[layer]), 1, 1).to(dtype) for layer in layers}
    results = []
    for tile in (None, 64, 1000):
        arguments = network, image, box, supports
        local = LocalFeatures(*arguments) if tile is None else TiledFeatures(*arguments, tile)
        local.set_pixels(pixels)
        gradients = {layer: features * weight[layer] for layer, features in local.values().items()}
        results.append((local.known, local.values(), local.backward(comparison(gradients, supports))))
    for known, values, gradient in results[1:]:
        for layer in layers:
            assert_same(known[layer], results[0][0][layer])
            assert_same(values[layer], results[0][1][layer])
        assert_same(gradient.to(dtype), results[0][2].to(dtype))


def test_only_what_the_box_reaches_is_computed() -> None:
    layers = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu4_1")
    box = Box(120, 120, 384, 384)
    supports = {"relu3_1": Box(28, 28, 100, 100), "relu4_1": Box(14, 14, 50, 50)}
    _, computed = reach(layers, box, supports, 512, 512)
    sides = [b.height for b in computed]
    assert sides == [266, 268, 136, 140, 72, 74, 76, 36]
    assert all(b.height == b.width for b in computed)


def test_layers_deeper_than_wanted_are_left_out() -> None:
    network = TextureNetwork("vgg16", ("relu1_1", "relu4_1"), TORCHVISION_NORMALISATION)
    box = Box(4, 4, 8, 8)
    local = LocalFeatures(network, torch.rand(3, 16, 16), box, {"relu1_1": box})
    assert set(local.known) == set(local.values()) == {"relu1_1"}


def test_nothing_waits_for_the_device() -> None:
    """In place, on tensors that stay where they are: what a CUDA graph can replay."""
    network = TextureNetwork("vgg16", ("relu2_1",), TORCHVISION_NORMALISATION)
    box = Box(10, 10, 20, 20)
    local = LocalFeatures(network, torch.rand(3, 32, 32), box, {"relu2_1": box.coarser(2)})
    before = local.values()["relu2_1"]
    address, old = before.data_ptr(), before.clone()
    local.set_pixels(torch.rand(3, 10, 10))
    assert local.values()["relu2_1"].data_ptr() == address
    assert not torch.equal(before, old)
