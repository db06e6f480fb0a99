"""The texture stage of the authors' release, ported to PyTorch to be measured against.

It follows github.com/leehomyc/Faster-High-Res-Neural-Inpainting, revision e910854 (MIT licence), step for step and in
float32: the whole image is the variable; three scales of 100 L-BFGS iterations without a line search; content at
relu4_2, patches at relu4_1 of VGG-19, matched against nine turned and scaled copies of the photograph, the hole
painted over with strips of it. The release matches once a scale, yet correlates all patches with the whole feature map
in every iteration and throws the result away; so does the port, unless told `recompute=False`, which is the best case
of the same algorithm.

What the port leaves out is work that a user of the release would not miss, so that a comparison errs in its favour:
- loops over single patches are done as one operation on all, and chunks of 256 filters as one convolution;
- convolutions run in channels-last memory, on the CPU 1.3 times as fast, and on a GPU as PyTorch runs them by default,
  that is in TF32 from Ampere on;
- the exemplars' features are computed once a scale, not twice;
- gradients of the network's weights, which Torch7's `backward` accumulates and nobody reads, are not computed;
- loading the network, and writing and reading the result as JPEG, are not part of it.

The release's weights cannot be shipped. `Vgg.random()` has their network's exact shape and random values: no operation
depends on the values, so neither does the time. `Vgg.embedded()`, the VGG-16 of this package, shows what the algorithm
does to a photograph; it ends at relu4_1, which then serves for the content as well, so it is not for timing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuralpatch_cuda.errors import MaskError
from neuralpatch_cuda.networks.texture import LAYERS
from neuralpatch_cuda.networks.weights import load_texture_network

CONTENT_WEIGHT = 20.0
TEXTURE_WEIGHT = 1e-4
VARIATION_WEIGHT = 1e-4
HISTORY = 25
PATCH = 3
STRIDE = 2
ROTATIONS = tuple(step * math.pi / 24 for step in (-1, 0, 1))
ZOOMS = (1 / 1.05, 1.0, 1.05)
MEAN = (103.939, 116.779, 123.68)
"""Of blue, green and red."""


class Vgg(nn.Module):
    """VGG up to its content layer, `[3, H, W]` blue, green, red -> (texture features, content features), `[C, h, w]`.

    Pooling rounds sizes up, as Caffe's does.
    """

    def __init__(self, depths: tuple[int, int, int, int]) -> None:
        """`depths`: convolutions per block; texture is the fourth block's first layer, content its last."""
        super().__init__()
        self.depths = depths
        widths = [width for width, depth in zip((64, 128, 256, 512), depths, strict=True) for _ in range(depth)]
        self.convolutions = nn.Sequential(
            *(
                nn.Conv2d(before, after, 3, padding=1, dtype=torch.float32)
                for before, after in zip([3, *widths], widths, strict=False)
            )
        )
        self.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]

    @classmethod
    def random(cls, seed: int = 0) -> Vgg:
        """VGG-19 up to relu4_2 with random weights."""
        network = cls((2, 2, 4, 2))
        generator = torch.Generator("cpu").manual_seed(seed)
        for parameter in network.parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
            else:
                nn.init.zeros_(parameter)
        return network

    @classmethod
    def embedded(cls) -> Vgg:
        """VGG-16 up to relu4_1 with trained weights."""
        network, trained = cls((2, 2, 3, 1)), load_texture_network("vgg16", LAYERS["vgg16"])
        for ours, theirs in zip(network.convolutions, trained.children(), strict=True):
            ours.load_state_dict(theirs.state_dict())
        first = next(network.parameters())
        first.copy_(first.flip(1))  # its input is blue, green, red
        return network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = image[None].contiguous(memory_format=torch.channels_last)
        convolutions = iter(self.convolutions)
        for block, depth in enumerate(self.depths):
            if block > 0:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            for i in range(depth):
                x = F.relu_(next(convolutions)(x))
                if block == 3 and i == 0:
                    texture = x[0]
        return texture, x[0]


def inpaint(
    image: Tensor,
    content: Tensor,
    weight: Tensor,
    network: Vgg,
    *,
    scales: int = 3,
    iterations: int = 100,
    recompute: bool = True,
) -> Tensor:
    """Fill the centred hole of a photograph.

    Args:
        image: `[3, S, S]` in [0, 1], S a multiple of 128; nothing within 29/128 S of the border is a hole.
        content: the same with the hole as the content network fills it.
        weight: `[S, S]` in [0, 1], the share of the photograph in the result.
        network: gives the features.
        scales: their number; each is half as large as the next.
        iterations: per scale.
        recompute: correlate in every iteration, as the release does.

    Raises:
        MaskError: the photograph has another size, or the weight marks a hole that reaches further.

    Returns:
        `[3, S, S]`. Like the release, the last scale's image is that of its last evaluation, before its last step.
    """
    side = image.shape[-1]
    check_hole(weight < 1)
    content, exemplar = to_caffe(content), to_caffe(paint_over(image))
    x = content
    for scale in range(scales):
        extent = math.ceil(side * 0.5 ** (scales - 1 - scale))
        held = resize(content, extent, extent)
        start = held if scale == 0 else resize(x, extent, extent)
        x, evaluated = optimise(start, held, resize(exemplar, extent, extent), network, iterations, recompute)
    return image * weight + from_caffe(evaluated).clamp(0, 1) * (1 - weight)


def check_hole(hole: Tensor) -> None:
    """Refuse a hole, bool `[H, W]`, that the release cannot fill: it knows a centred one in a square only."""
    height, width = hole.shape
    margin = 29 * width // 128
    if height != width or width % 128 or F.pad(hole, [-margin] * 4).sum() < hole.sum():
        raise MaskError(
            "The released algorithm fills squares with a side of a multiple of 128 px, and no hole within "
            "29/128 of the side from a border."
        )


def optimise(
    start: Tensor, content: Tensor, exemplar: Tensor, network: Vgg, iterations: int, recompute: bool
) -> tuple[Tensor, Tensor]:
    """One scale: its image after the last step, and that of the last evaluation; all images as by `to_caffe`."""
    with torch.no_grad():
        _, held = network(content)
        markov = MarkovField([network(copy)[0] for copy in exemplar_copies(exemplar)], recompute)
    x = start.clone().requires_grad_()
    evaluated = start

    def evaluate() -> float:
        nonlocal evaluated
        evaluated = x.detach().clone()
        texture, features = network(x)
        with torch.no_grad():
            gradients = TEXTURE_WEIGHT * -markov.pull(texture), content_gradient(features, held)
        (gradient,) = torch.autograd.grad((texture, features), x, gradients)
        x.grad = variation_gradient(evaluated).add_(gradient)
        return 0.0  # the release computes gradients only

    minimiser(x, iterations).step(evaluate)  # type: ignore[no-untyped-call]
    return x.detach(), evaluated


def minimiser(x: Tensor, iterations: int) -> torch.optim.LBFGS:
    """The release's L-BFGS: PyTorch's has the same origin, and with these settings the same steps."""
    return torch.optim.LBFGS(
        [x],
        lr=1,
        max_iter=iterations,
        max_eval=iterations * 5 // 4,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=HISTORY,
    )


class MarkovField:
    """Exemplar patches, and the pull of the best of them on every patch of a feature map."""

    def __init__(self, exemplars: list[Tensor], recompute: bool) -> None:
        """`exemplars`: feature maps `[C, h, w]`; see `inpaint` for `recompute`."""
        grids = [grid_patches(features, *axes(features)) for features in exemplars]
        patches = torch.cat([patches.permute(1, 2, 0, 3, 4).flatten(0, 1) for patches in grids])
        self.patches = patches.contiguous(memory_format=torch.channels_last)
        self.norm = self.patches.flatten(1).norm(dim=1)
        self.best: Tensor | None = None
        """For each patch of the grid, the number of its exemplar patch; set in the first iteration."""
        self._recompute = recompute
        self._axes: tuple[Tensor, Tensor] | None = None

    def pull(self, features: Tensor) -> Tensor:
        """(best exemplar patch - patch), averaged where patches overlap; `[C, h, w]` like the features."""
        if self._axes is None:
            self._axes = axes(features)
        rows, columns = self._axes
        if self._recompute or self.best is None:
            response = self.correlate(features)
            if self.best is None:
                self.best = response.div_(self.norm[:, None, None]).argmax(0)[rows][:, columns]
        difference = self.patches[self.best].permute(2, 0, 1, 3, 4) - grid_patches(features, rows, columns)
        total = torch.zeros_like(features)
        count = features.new_full(features.shape[1:], 1e-10)
        for i in range(PATCH):
            for j in range(PATCH):
                y, x = (rows + i)[:, None], columns + j
                total[:, y, x] += difference[..., i, j]
                count[y, x] += 1
        return total.div_(count)

    def correlate(self, features: Tensor) -> Tensor:
        """All exemplar patches with all patches of the features, over the latters' norms; `[K, h - 2, w - 2]`."""
        columns = F.unfold(features[None], PATCH)[0]
        response = F.conv2d(features[None], self.patches)[0]
        return response.div_(columns.norm(dim=0).view(response.shape[1:]))


def grid(extent: int) -> list[int]:
    """Every second patch position of an axis, and the last."""
    last = extent - PATCH
    return [*range(0, last, STRIDE), last]


def axes(features: Tensor) -> tuple[Tensor, Tensor]:
    """The rows and the columns of a feature map's grid."""
    _, height, width = features.shape
    return torch.tensor(grid(height), device=features.device), torch.tensor(grid(width), device=features.device)


def grid_patches(features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The patches of `[C, h, w]` at these positions: `[C, rows, columns, 3, 3]`."""
    return features.unfold(1, PATCH, 1).unfold(2, PATCH, 1)[:, rows][:, :, columns]


def content_gradient(features: Tensor, held: Tensor) -> Tensor:
    """Of the weighted mean square."""
    return (features - held) * (2 * CONTENT_WEIGHT / features.numel())


def variation_gradient(x: Tensor) -> Tensor:
    """Of half the weighted squared differences; those within the last row and the last column are left out."""
    corner = x[:, :-1, :-1]
    right, below = corner - x[:, :-1, 1:], corner - x[:, 1:, :-1]
    gradient = torch.zeros_like(x)
    gradient[:, :-1, :-1] += right + below
    gradient[:, :-1, 1:] -= right
    gradient[:, 1:, :-1] -= below
    return VARIATION_WEIGHT * gradient


def to_caffe(image: Tensor) -> Tensor:
    """RGB in [0, 1] to what the network takes: blue, green, red in [0, 256] less their mean."""
    return image.flip(0) * 256 - image.new_tensor(MEAN).view(3, 1, 1)


def from_caffe(image: Tensor) -> Tensor:
    return ((image + image.new_tensor(MEAN).view(3, 1, 1)) / 256).flip(0)


def paint_over(image: Tensor) -> Tensor:
    """Cover the middle of the photograph with the strips above and below it."""
    unit = image.shape[-1] // 128
    image = image.clone()
    across = slice(29 * unit, 99 * unit)
    for top, bottom, source in ((29, 58, 0), (58, 70, 17), (70, 99, 99)):
        rows = slice(source * unit, (source + bottom - top) * unit)
        image[:, top * unit : bottom * unit, across] = image[:, rows, across]
    return image


def exemplar_copies(image: Tensor) -> list[Tensor]:
    """The image at each of three angles, cut to its largest full rectangle, in each of three sizes."""
    copies = []
    for angle in ROTATIONS:
        rows, columns = largest_box(image.shape[-2], image.shape[-1], angle)
        turned = rotate(image, angle)[:, rows, columns]
        height, width = turned.shape[1:]
        longest = max(height, width)
        for zoom in ZOOMS:
            side = math.floor(longest * zoom)
            copies.append(resize(turned, height * side // longest, width * side // longest))
    return copies


def rotate(image: Tensor, angle: float) -> Tensor:
    """Turn a square image about pixel (S/2, S/2), half a pixel off its centre, bilinearly."""
    cos, sin, off = math.cos(angle), math.sin(angle), 1 / (image.shape[-1] - 1)
    matrix = image.new_tensor([[[cos, -sin, off * (1 - cos + sin)], [sin, cos, off * (1 - cos - sin)]]])
    places = F.affine_grid(matrix, [1, *image.shape], align_corners=True)
    return F.grid_sample(image[None], places, align_corners=True)[0]


def largest_box(height: int, width: int, angle: float) -> tuple[slice, slice]:
    """Rows and columns of a turned image that it fills; from pixels counted from 1, as in the release."""
    if angle == 0:
        return slice(0, height), slice(0, width)
    cos, sin, tan = math.cos(angle), math.sin(angle), math.tan(angle)

    def turn(x: float, y: float) -> tuple[float, float]:
        x, y = x - width / 2, y - height / 2
        return width / 2 + x * cos + y * sin, height / 2 - x * sin + y * cos

    # From the side of the image, along its turned upper edge, then level to a turned side.
    side, other = (1, width) if angle > 0 else (width, 1)
    x, y = turn(1, 1)
    top = y - (side - x) * tan
    x, y = turn(other, 1)
    end = x + (top - y) * tan
    left, right = sorted((end, width - end))
    first_row, first_column = max(math.floor(top), 1), max(math.floor(left), 1)
    return slice(first_row - 1, math.floor(height - top)), slice(first_column - 1, math.floor(right))


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Torch7's `image.scale`: growing bilinear between the outermost pixels, shrinking the mean over each area."""
    if (height, width) == image.shape[1:]:
        return image
    rows, columns = _weights(image.shape[1], height).to(image), _weights(image.shape[2], width).to(image)
    return rows @ image @ columns.T


def _weights(source: int, target: int) -> Tensor:
    """How much of each pixel of a row goes into each pixel of the resized row, `[target, source]`."""
    kind: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
    pixels = torch.arange(source, **kind)
    if target > source:
        places = torch.linspace(0, source - 1, target, **kind)
        return (1 - (places[:, None] - pixels).abs()).clamp(min=0)
    edges = torch.linspace(0, source, target + 1, **kind)
    overlap = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return overlap.clamp(min=0) * target / source
