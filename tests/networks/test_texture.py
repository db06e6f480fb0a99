"""The texture network against VGG written out as a plain `nn.Sequential`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from neuralpatch_cuda.errors import ImageError
from neuralpatch_cuda.networks.texture import (
    CAFFE_NORMALISATION,
    CHANNELS,
    LAYERS,
    STRIDE,
    TORCHVISION_NORMALISATION,
    Architecture,
    Normalisation,
    TextureNetwork,
    receptive_field,
)
from neuralpatch_cuda.networks.weights import load_texture_network

PLAN: dict[Architecture, list[int | str]] = {
    "vgg16": [64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512],
    "vgg19": [64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512],
}
ARCHITECTURES = list(PLAN)


@pytest.fixture(scope="module")
def embedded() -> TextureNetwork:
    return load_texture_network("vgg16", LAYERS["vgg16"])


def random_network(architecture: Architecture, layers: list[str] | None = None) -> TextureNetwork:
    torch.manual_seed(0)
    return TextureNetwork(architecture, layers or LAYERS[architecture], TORCHVISION_NORMALISATION)


def noise_image(height: int = 40, width: int = 56, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def plain_features(network: TextureNetwork, image: Tensor, normalisation: Normalisation) -> dict[str, Tensor]:
    """The same features, step by step, not in place, with the network's weights."""
    weights = iter(network.state_dict().items())
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (normalisation.mean, normalisation.std))
    x = (image - mean) / std
    features, block, i, channels = {}, 1, 1, 3
    for step in PLAN[network.architecture]:
        if isinstance(step, str):
            x = nn.MaxPool2d(2)(x)
            block, i = block + 1, 1
            continue
        conv = nn.Conv2d(channels, step, 3, padding=1, dtype=image.dtype)
        (weight_name, weight), (bias_name, bias) = next(weights), next(weights)
        assert (weight_name, bias_name) == (f"conv{block}_{i}.weight", f"conv{block}_{i}.bias")
        conv.load_state_dict({"weight": weight, "bias": bias})
        x = nn.Sequential(conv, nn.ReLU())(x)
        features[f"relu{block}_{i}"] = x
        channels, i = step, i + 1
    return features


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_equal_the_plain_network(architecture: Architecture) -> None:
    network = random_network(architecture)
    image = noise_image(43, 57, batch=2)  # odd: each pooling drops a row or a column
    features = network(image)
    expected = plain_features(network, image, TORCHVISION_NORMALISATION)
    assert list(features) == list(expected) == list(LAYERS[architecture])
    for layer, value in features.items():
        stride = STRIDE[layer]
        assert value.shape == (2, CHANNELS[layer], 43 // stride, 57 // stride)
        assert value.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(value, expected[layer], atol=1e-5, rtol=1e-4)


def test_embedded_features_equal_the_plain_network_on_bgr_in_255(embedded: TextureNetwork) -> None:
    image = noise_image()
    weights = embedded.state_dict()
    caffe_input = 255 * image.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    bgr_weight = weights["conv1_1.weight"].flip(1)
    expected = nn.functional.conv2d(caffe_input, bgr_weight, weights["conv1_1.bias"], padding=1).relu()
    torch.testing.assert_close(embedded(image)["relu1_1"], expected, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize(
    "layers",
    [["relu1_1"], ["relu2_2"], ["relu4_1", "relu3_1"], ["relu1_2", "relu3_3"], ["relu3_1", "relu3_1"]],
)
def test_a_subset_of_layers_has_the_same_features(embedded: TextureNetwork, layers: list[str]) -> None:
    image = noise_image()
    every = embedded(image)
    network = load_texture_network("vgg16", layers)
    features = network(image)
    assert list(features) == list(network.layers) == [layer for layer in LAYERS["vgg16"] if layer in layers]
    for layer, value in features.items():
        torch.testing.assert_close(value, every[layer], atol=1e-2, rtol=1e-5)


def test_no_layer_deeper_than_requested_is_built() -> None:
    names = {name.split(".")[0] for name in random_network("vgg16", ["relu2_1"]).state_dict()}
    assert names == {"conv1_1", "conv1_2", "conv2_1"}


def test_an_image_without_a_batch_gives_features_without_a_batch(embedded: TextureNetwork) -> None:
    image = noise_image()
    batched, single = embedded(image), embedded(image[0])
    for layer, value in single.items():
        assert torch.equal(value, batched[layer][0])


@pytest.mark.parametrize("layers", [list(LAYERS["vgg19"]), ["relu3_1", "relu4_1"]])
def test_gradient_of_the_image_equals_the_plain_network(layers: list[str]) -> None:
    network = random_network("vgg19", layers).double()
    image = noise_image(24, 32).double().requires_grad_()
    plain = plain_features(network, image, TORCHVISION_NORMALISATION)
    gradients = []
    for features in (network(image), plain):
        loss = torch.stack([features[layer].square().sum() for layer in layers]).sum()
        gradients.append(torch.autograd.grad(loss, image)[0])
    scale = gradients[1].abs().max().item()
    assert scale > 0
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9 * scale)


def test_parameters_are_frozen(embedded: TextureNetwork) -> None:
    assert not embedded.training
    assert not any(parameter.requires_grad for parameter in embedded.parameters())
    assert not any(value.requires_grad for value in embedded(noise_image()).values())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_receptive_field_is_the_support_of_the_gradient(architecture: Architecture) -> None:
    network = random_network(architecture).double()
    for parameter in network.parameters():
        parameter.abs_()  # with positive values throughout, no ReLU stops the gradient and nothing cancels
    # A pooling hands the gradient to one of four pixels, so the supports in several images are joined.
    image = (noise_image(72, 72, batch=4).double() + 1).requires_grad_()
    for layer, value in network(image).items():
        stride, radius = STRIDE[layer], receptive_field(layer, architecture)
        cell = 32 // stride
        (gradient,) = torch.autograd.grad(value[:, :, cell, cell].sum(), image, retain_graph=True)
        for axis in (2, 3):
            others = [dim for dim in range(4) if dim != axis]
            touched = (gradient != 0).sum(others).nonzero().flatten()
            assert touched.min() == 32 - radius, layer
            assert touched.max() == 32 + stride - 1 + radius, layer


def test_receptive_field_of_known_layers() -> None:
    # Stride + 2 * radius are the widths in the literature: 3, 24 and 60 pixels.
    assert receptive_field("relu1_1") == 1
    assert receptive_field("relu3_1") == 10
    assert receptive_field("relu4_1") == 26
    assert receptive_field("relu4_1", "vgg19") == 30


def test_bfloat16_is_close_to_float32(embedded: TextureNetwork) -> None:
    image = noise_image(64, 64)
    network = load_texture_network("vgg16", LAYERS["vgg16"]).to(torch.bfloat16)
    for layer, value in network(image).items():
        expected = embedded(image)[layer]
        assert value.dtype == torch.bfloat16
        assert (value.float() - expected).norm() < 0.02 * expected.norm(), layer


def test_bfloat16_network_rounds_the_image_after_the_normalisation(embedded: TextureNetwork) -> None:
    # Differences from the mean colour that are below the resolution of bfloat16 at 0.5.
    image = embedded.mean + 1e-3 * (noise_image() - 0.5)
    expected = embedded(image)["relu1_1"]
    value = load_texture_network("vgg16", ["relu1_1"]).to(torch.bfloat16)(image)["relu1_1"]
    assert (value.float() - expected).norm() < 0.01 * expected.norm()


def test_normalisation_stays_float32_through_conversions() -> None:
    network = random_network("vgg16", ["relu1_1"])
    mean = network.mean.clone()
    network.to(torch.bfloat16).float()
    assert network.mean.dtype == torch.float32
    assert torch.equal(network.mean, mean)


def test_image_in_bfloat16_is_normalised_in_float32(embedded: TextureNetwork) -> None:
    image = noise_image().bfloat16()
    assert torch.equal(embedded(image)["relu1_1"], embedded(image.float())["relu1_1"])


def test_embedded_network_sees_edges_and_colour(embedded: TextureNetwork) -> None:
    flat = torch.full((1, 3, 64, 64), 0.5)
    stripes = flat.clone()
    stripes[..., ::4] = 1
    stripes[..., 1::4] = 1
    turned = stripes.transpose(2, 3).contiguous()
    red = flat.clone()
    red[:, 1:] = 0

    def inner(image: Tensor, layer: str) -> Tensor:
        """Mean of each channel, away from the zero padding at the border."""
        margin = 32 // STRIDE[layer] - 1
        value: Tensor = embedded(image)[layer][0, :, margin:-margin, margin:-margin].mean((1, 2))
        assert value.isfinite().all()
        return value

    for layer in ("relu2_2", "relu3_1"):
        texture = inner(stripes, layer)
        assert texture.norm() > 1.5 * inner(flat, layer).norm(), layer
        # The orientation matters: a randomly weighted network would respond alike to both directions.
        similarity = nn.functional.cosine_similarity(texture, inner(turned, layer), dim=0)
        assert similarity < 0.7, layer
    assert not torch.allclose(inner(red, "relu1_2"), inner(red.flip(1), "relu1_2"), rtol=0.1)


def test_a_constant_image_has_constant_features_inside(embedded: TextureNetwork) -> None:
    value = embedded(torch.full((3, 96, 96), 0.3))["relu3_1"]
    inner = value[:, 4:-4, 4:-4]  # beyond the reach of the zero padding
    assert (inner - inner[:, :1, :1]).abs().max() < 1e-3 * value.max()


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [("vgg16", []), ("vgg16", ["relu5_1"]), ("vgg16", ["relu3_4"]), ("vgg19", ["conv1_1"])],
)
def test_unknown_layers_are_refused(architecture: Architecture, layers: list[str]) -> None:
    with pytest.raises(ValueError, match=r"relu1_1, .*relu4_1\."):
        TextureNetwork(architecture, layers, CAFFE_NORMALISATION)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(1, 1, 32, 32),
        torch.zeros(32, 32),
        torch.zeros(1, 1, 3, 32, 32),
        torch.zeros(3, 32, 32, dtype=torch.uint8),
        torch.zeros(3, 7, 32),
    ],
)
def test_unusable_images_are_refused(embedded: TextureNetwork, image: Tensor) -> None:
    with pytest.raises(ImageError, match="The image must be"):
        embedded(image)


def test_the_smallest_image(embedded: TextureNetwork) -> None:
    assert embedded(torch.zeros(3, 8, 8))["relu4_1"].shape == (512, 1, 1)
