"""The texture network: the features in which patches of the hole are compared with known patches.

VGG-16 and VGG-19 (Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015), from the image up to relu4_1. A layer is named `relu<block>_<convolution>`; its
feature map is 2^(block - 1) times smaller than the image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuralpatch_cuda.errors import ImageError

Architecture = Literal["vgg16", "vgg19"]

DEPTHS: dict[Architecture, tuple[int, ...]] = {"vgg16": (2, 2, 3, 1), "vgg19": (2, 2, 4, 1)}
"""Convolutions per block; a 2 x 2 max pooling separates the blocks."""

_WIDTHS = (64, 128, 256, 512)


def _layers(architecture: Architecture) -> tuple[tuple[str, int], ...]:
    """Name and block, counted from 0, of every layer in the order of the depth."""
    depths = DEPTHS[architecture]
    return tuple((f"relu{block + 1}_{i + 1}", block) for block, depth in enumerate(depths) for i in range(depth))


LAYERS: dict[Architecture, tuple[str, ...]] = {name: tuple(layer for layer, _ in _layers(name)) for name in DEPTHS}
"""The layers of each architecture, shallowest first."""

STRIDE: dict[str, int] = {layer: 2**block for layer, block in _layers("vgg19")}
"""Image pixels per feature pixel, for every layer of either architecture."""

CHANNELS: dict[str, int] = {layer: _WIDTHS[block] for layer, block in _layers("vgg19")}
"""Channels of every layer of either architecture."""


def receptive_field(layer: str, architecture: Architecture = "vgg16") -> int:
    """Radius in image pixels of what a feature depends on, measured from the rim of the feature's own cell.

    With `s = STRIDE[layer]`, feature pixel `i` has the cell `[i * s, i * s + s - 1]` and depends on the image
    pixels `[i * s - radius, i * s + s - 1 + radius]`, in each direction. Each 3 x 3 convolution adds the
    stride at which it runs; pooling only merges cells.

    Raises:
        ValueError: the architecture has no such layer.
    """
    _check_layers([layer], architecture)
    layers = LAYERS[architecture]
    return sum(STRIDE[name] for name in layers[: layers.index(layer) + 1])


def _check_layers(layers: Sequence[str], architecture: Architecture) -> None:
    known = LAYERS[architecture]
    unknown = [layer for layer in layers if layer not in known]
    if unknown or not layers:
        problem = f"{architecture} has no layer {unknown[0]!r}" if unknown else "no layer is named"
        raise ValueError(f"{problem}; choose from {', '.join(known)}.")


@dataclass(frozen=True)
class Normalisation:
    """What the weights expect as input: `(x - mean) / std`, per channel of an RGB image in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CAFFE_NORMALISATION = Normalisation((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255))
"""Of the original weights: values in [0, 255] less the mean colour of ImageNet."""

TORCHVISION_NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of torchvision's weights: ImageNet's mean and deviation on values in [0, 1]."""


class TextureNetwork(nn.Module):
    """VGG up to the deepest of the requested layers. Frozen: only the image receives a gradient.

    The weights are named `conv1_1.weight`, `conv1_1.bias`, and so on. They start at random;
    `load_texture_network` returns a trained network. `to(dtype)` sets the precision of the convolutions and
    of the features; the normalisation stays float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture, layers: Sequence[str], normalisation: Normalisation) -> None:
        """Build the network.

        Args:
            architecture: "vgg16" or "vgg19".
            layers: names of the features that `forward` returns, in any order.
            normalisation: the input that the weights were trained for.

        Raises:
            ValueError: no layer is named, or the architecture lacks one of them.
        """
        super().__init__()
        _check_layers(layers, architecture)
        known = LAYERS[architecture]
        self.architecture: Architecture = architecture
        self.normalisation = normalisation
        self.layers = tuple(sorted(set(layers), key=known.index))
        """The requested layers, shallowest first."""
        self.depth = known[: known.index(self.layers[-1]) + 1]
        """Every layer up to the deepest requested one."""
        channels = 3
        for layer in self.depth:
            convolution = nn.Conv2d(channels, CHANNELS[layer], 3, padding=1, dtype=torch.float32)
            self.add_module(_convolution(layer), convolution)
            channels = CHANNELS[layer]
        for name in ("mean", "std"):
            self.register_buffer(name, torch.empty(3, 1, 1, dtype=torch.float32), persistent=False)
        self._set_normalisation()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's annotations
        self.eval().requires_grad_(False)

    def _set_normalisation(self) -> None:
        for name in ("mean", "std"):
            device = getattr(self, name).device
            values = torch.tensor(getattr(self.normalisation, name), dtype=torch.float32, device=device)
            setattr(self, name, values.view(3, 1, 1))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TextureNetwork:
        # Module.to(bfloat16) rounds the buffers too, and a rounded mean would shift the colours.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._set_normalisation()
        return self

    def narrowed(self, layers: Sequence[str]) -> TextureNetwork:
        """The same network, its weights shared, as far as some of the layers up to its deepest need it."""
        other = copy.copy(self)
        other.layers = tuple(layer for layer in self.depth if layer in layers)
        other.depth = self.depth[: self.depth.index(other.layers[-1]) + 1]
        return other

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Compute the features.

        Args:
            image: `[B, 3, H, W]` or `[3, H, W]`, floating point, RGB in [0, 1]; best kept in float32 whatever
                the network's dtype, since it is rounded only after the normalisation.

        Returns:
            For each requested layer, shallowest first, the features after the ReLU: `[B, C, H // s, W // s]`
            or `[C, H // s, W // s]` with `C = CHANNELS[layer]` and `s = STRIDE[layer]`, in the network's
            dtype, channels-last. Each map is zero-padded before its convolution, as in training.

        Raises:
            ImageError: the image has another shape, is not floating point or is smaller than a feature pixel.
        """
        self._check_image(image)
        x = self.normalise(image if image.ndim == 4 else image[None])
        features = {}
        for layer in self.depth:
            if self.pools_before(layer):
                x = F.max_pool2d(x, 2)
            # Safe in place: no backward pass needs the convolution's output, and nothing later writes to x.
            x = F.relu_(self.convolution(layer)(x))
            if layer in self.layers:
                features[layer] = x if image.ndim == 4 else x[0]
        return features

    def convolution(self, layer: str) -> nn.Conv2d:
        """The convolution, 3 x 3 and padded by 1, whose output's ReLU the layer is."""
        module = self.get_submodule(_convolution(layer))
        assert isinstance(module, nn.Conv2d)
        return module

    def pools_before(self, layer: str) -> bool:
        """Whether a 2 x 2 max pooling comes before the layer's convolution."""
        return layer.endswith("_1") and layer != self.depth[0]

    def normalise(self, image: Tensor) -> Tensor:
        """What the first convolution takes, from an image `[B, 3, H, W]` in [0, 1]."""
        dtype = self.convolution(self.depth[0]).weight.dtype
        return image.sub(self.mean).div(self.std).to(dtype, memory_format=torch.channels_last)

    def normalise_backward(self, gradient: Tensor) -> Tensor:
        """The gradient of the image, float32, from that of `normalise`'s result."""
        return gradient.float() / self.std

    def _check_image(self, image: Tensor) -> None:
        stride = STRIDE[self.layers[-1]]
        if image.ndim not in (3, 4) or image.shape[-3] != 3 or not image.is_floating_point():
            shape = list(image.shape)
            raise ImageError(
                f"The image must be [B, 3, H, W] or [3, H, W] and floating point, not {shape} {image.dtype}."
            )
        if min(image.shape[-2:]) < stride:
            raise ImageError(f"The image must be at least {stride} x {stride} pixels for {self.layers[-1]}.")


def _convolution(layer: str) -> str:
    return layer.replace("relu", "conv")
