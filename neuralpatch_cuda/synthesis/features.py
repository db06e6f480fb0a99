"""A texture network's features as a function of a box of the window's pixels.

While a hole is optimised, the rest of the window stands still. A feature changes only if a pixel of the box lies in
its receptive field; so, layer by layer, the convolutions run over the cells that the box reaches and that are wanted,
and take their surroundings from what the fixed pixels gave once. Next to a crop wide enough for whole receptive fields
this saves about half of the multiplications, with the same result. All buffers live as long as the object, and
nothing waits for the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuralpatch_cuda.networks.texture import STRIDE, TextureNetwork
from neuralpatch_cuda.synthesis.boxes import Box, refit

Compare = Callable[[str, Tensor, Box, Tensor | None], Tensor]
"""From a layer, its features `[C, h, w]` over some of its cells, and those cells, to the gradient of the loss in these
features; it is written into the last argument, if that is a tensor."""


class Pooling:
    """2 x 2 maximum pooling, which leaves out an odd last row or column.

    Every pair of rows is an item of a batch: on the CPU, PyTorch shares out the backward pass by items.
    """

    def forward(self, x: Tensor) -> Tensor:
        """From `[1, C, h, w]`, channels-last, to `[1, C, h // 2, w // 2]`."""
        self._height, self._width = x.shape[-2:]
        height, width = self._height // 2, self._width // 2
        x = x[0, :, : 2 * height, : 2 * width]
        self._pairs = x.reshape(-1, height, 2, 2 * width).transpose(0, 1)
        pooled: Tensor
        pooled, self._winners = torch.ops.aten.max_pool2d_with_indices(self._pairs, [2, 2], [2, 2])
        return pooled.transpose(0, 1).reshape(1, -1, height, width)

    def backward(self, gradient: Tensor) -> Tensor:
        """From the gradient of `forward`'s result to that of its argument."""
        pairs: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient[0].unsqueeze(2).transpose(0, 1),
            self._pairs,
            [2, 2],
            [2, 2],
            [0, 0],
            [1, 1],
            False,
            self._winners,
        )
        gradient = pairs.transpose(0, 1).flatten(1, 2)[None]
        missing = self._width - gradient.shape[-1], self._height - gradient.shape[-2]
        return F.pad(gradient, (0, missing[0], 0, missing[1])) if any(missing) else gradient


class Convolution:
    """A 3 x 3 convolution of maps that cover one box.

    On the CPU its weights are laid out for oneDNN once, as they would be at every call.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: int, box: Box) -> None:
        """From weights `[out, in, 3, 3]`, an optional bias and the cells of zeros around the box."""
        self._weight, self._bias = weight.contiguous(memory_format=torch.channels_last), bias
        self._padding = [padding, padding]
        self._laid_out = runs_on_onednn(weight)
        if self._laid_out:
            shape = [1, weight.shape[1], box.height, box.width]
            self._weight = torch.ops.mkldnn._reorder_convolution_weight(
                self._weight, self._padding, [1, 1], [1, 1], 1, shape
            )

    def __call__(self, x: Tensor) -> Tensor:
        if not self._laid_out:
            return F.conv2d(x, self._weight, self._bias, padding=self._padding)
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, self._padding, [1, 1], [1, 1], 1, "none", [], ""
        )
        return result


def runs_on_onednn(weight: Tensor) -> bool:
    """Whether oneDNN convolves with such weights here, through the operators that torch.compile uses."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


class Step:
    """One convolution over a box of its output, with the pooling or the ReLU before it."""

    def __init__(
        self,
        convolution: nn.Conv2d,
        surroundings: Tensor,
        given: Box,
        computed: Box,
        *,
        first: bool,
        pooled: bool,
    ) -> None:
        """Keep what is fixed.

        Args:
            convolution: 3 x 3, its padding 1.
            surroundings: its whole input, `[1, C, h, w]`, as the fixed pixels give it.
            given: the cells of the input, after pooling, that `forward` is given.
            computed: the cells of the output that are computed.
            first: of the network; otherwise `forward` is given values that a ReLU has yet to pass.
            pooled: they are to be max-pooled 2 x 2, too.
        """
        self._pooling = Pooling() if pooled else None
        self._first = first
        read = computed.grown(1)
        whole = Box(0, 0, surroundings.shape[-2], surroundings.shape[-1])
        self._input = refit(surroundings, whole, read).clone(memory_format=torch.channels_last)
        self._given, self._used = given, given.intersection(read)
        rows, columns = self._used.inside(read)
        self._changing = self._input[..., rows, columns]
        # The gradient is wanted for the used cells only; each cell of padding gives one more on each side.
        padding = next(p for p in (0, 1, 2) if computed.grown(p - 1).contains(self._used))
        self._returned = computed.grown(padding - 1)
        weight = convolution.weight
        self._convolve = Convolution(weight, convolution.bias, 0, read)
        # oneDNN rounds otherwise where the padding is 2, and the result must not depend on where the boxes end.
        self._padded = computed.grown(padding // 2)
        self._computed = computed
        back = weight.flip(2, 3).transpose(0, 1)
        self._convolve_back = Convolution(back, None, padding - padding // 2, self._padded)

    def forward(self, x: Tensor) -> Tensor:
        """From the changing cells of the last step's output, `[1, C, h, w]`, to this one's, before the ReLU."""
        if self._pooling:
            x = self._pooling.forward(x)
        x = refit(x, self._given, self._used)
        if self._first:
            self._changing.copy_(x)
        else:
            torch.clamp_min(x, 0, out=self._changing)
        return self._convolve(self._input)

    def backward(self, gradient: Tensor) -> Tensor:
        """From the gradient of `forward`'s result to that of its argument."""
        gradient = self._convolve_back(refit(gradient, self._computed, self._padded))
        gradient = refit(gradient, self._returned, self._used)
        if not self._first:
            torch.ops.aten.threshold_backward.grad_input(gradient, self._changing, 0, grad_input=gradient)
        gradient = refit(gradient, self._used, self._given)
        return self._pooling.backward(gradient) if self._pooling else gradient


class Feature:
    """The activations of a layer over a box of its cells."""

    def __init__(self, activations: Tensor, support: Box, computed: Box) -> None:
        """Keep the whole map's activations `[1, C, h, w]` over `support`; those in `computed` will change."""
        whole = Box(0, 0, activations.shape[-2], activations.shape[-1])
        self.support = support
        self.values = refit(activations, whole, support).clone(memory_format=torch.channels_last)
        self.gradient = torch.empty_like(self.values)
        self._computed, self._changing = computed, computed.intersection(support)
        self._inside = self._changing.inside(support)

    def set(self, x: Tensor) -> None:
        """Take over the convolution's new output."""
        rows, columns = self._inside
        torch.clamp_min(refit(x, self._computed, self._changing), 0, out=self.values[..., rows, columns])

    def zero_gradient(self) -> Tensor:
        """A gradient of the convolution's output."""
        shape = (1, self.values.shape[1], self._computed.height, self._computed.width)
        return self.values.new_zeros(shape).to(memory_format=torch.channels_last)

    def backward(self, total: Tensor) -> None:
        """Add the gradient of the activations, `[1, C, h, w]` over the support, to the convolution's output's."""
        rows, columns = self._inside
        gradient = torch.ops.aten.threshold_backward(
            self.gradient[..., rows, columns], self.values[..., rows, columns], 0
        )
        rows, columns = self._changing.inside(self._computed)
        total[..., rows, columns] += gradient


class LocalFeatures:
    """The features of a window of which only the pixels of a box change."""

    def __init__(self, network: TextureNetwork, image: Tensor, box: Box, supports: dict[str, Box]) -> None:
        """Run the network over the whole window once.

        Args:
            network: gives the features.
            image: the window, `[3, H, W]`, float32 in [0, 1].
            box: the pixels that will change.
            supports: for each layer whose features are wanted, which of its cells.
        """
        self.known: dict[str, Tensor] = {}
        """Features of the whole window as it is now: `[C, H // s, W // s]` for each layer of `supports`."""
        self._network = network
        self._steps: list[Step] = []
        self._layers = layers = network.depth[: max(map(network.depth.index, supports)) + 1]
        self._features: dict[str, Feature] = {}
        given, computed = reach(layers, box, supports, *image.shape[-2:])
        with torch.no_grad():
            x = network.normalise(image[None])
            for i, layer in enumerate(layers):
                convolution = network.convolution(layer)
                pooled = network.pools_before(layer)
                if pooled:
                    x = F.max_pool2d(x, 2)
                self._steps.append(Step(convolution, x, given[i], computed[i], first=i == 0, pooled=pooled))
                x = F.relu_(convolution(x))
                if layer in supports:
                    self.known[layer] = x[0]
                    self._features[layer] = Feature(x, supports[layer], computed[i])

    @torch.no_grad()
    def set_pixels(self, pixels: Tensor) -> None:
        """Give the box's pixels new values, `[3, h, w]` in [0, 1]."""
        x = self._network.normalise(pixels[None])
        for layer, step in zip(self._layers, self._steps, strict=True):
            x = step.forward(x)
            if layer in self._features:
                self._features[layer].set(x)

    def values(self) -> dict[str, Tensor]:
        """The features over `supports`, `[C, h, w]` each, in tensors that are always the same."""
        return {layer: feature.values[0] for layer, feature in self._features.items()}

    @torch.no_grad()
    def backward(self, compare: Compare) -> Tensor:
        """The gradient of the box's pixels, float32 `[3, h, w]`, from those of the features."""
        for layer, feature in self._features.items():
            compare(layer, feature.values[0], feature.support, feature.gradient[0])
        total = self._features[self._layers[-1]].zero_gradient()
        for layer, step in zip(reversed(self._layers), reversed(self._steps), strict=True):
            if layer in self._features:
                self._features[layer].backward(total)
            total = step.backward(total)
        return self._network.normalise_backward(total)[0]


def reach(
    layers: Sequence[str], box: Box, supports: dict[str, Box], height: int, width: int
) -> tuple[list[Box], list[Box]]:
    """For each of the layers, the cells of its convolution's input that change, and of its output to compute.

    Args:
        layers: of a network, from the first to the last one that is wanted.
        box: the pixels that change.
        supports: the cells that are wanted of some of the layers, the last one included.
        height, width: of the window.
    """
    strides = [STRIDE[layer] for layer in layers]
    wholes = [Box(0, 0, height // stride, width // stride) for stride in strides]
    inputs, outputs = [box], [box.grown(1).intersection(wholes[0])]  # what the box reaches
    for i in range(1, len(layers)):
        inputs.append(outputs[-1].coarser(strides[i] // strides[i - 1]).intersection(wholes[i]))
        outputs.append(inputs[-1].grown(1).intersection(wholes[i]))

    given: list[Box] = []
    computed = [outputs[-1].intersection(supports[layers[-1]])]
    for i in range(len(layers) - 1, 0, -1):
        pooling = strides[i] // strides[i - 1]
        wanted = inputs[i].intersection(computed[0].grown(1)).finer(pooling)
        if layers[i - 1] in supports:
            wanted = wanted.union(outputs[i - 1].intersection(supports[layers[i - 1]]))
        computed.insert(0, wanted.coarser(pooling).finer(pooling).intersection(wholes[i - 1]))
        given.insert(0, computed[0].coarser(pooling).intersection(wholes[i]))
    return [box, *given], computed
