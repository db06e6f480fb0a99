"""One scale: minimise content + alpha * texture + beta * TV over the hole's pixels (equation 1 of the paper).

A narrow rim of known pixels is optimised too, and put back at the end; see `RIM`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from neuralpatch_cuda import ops
from neuralpatch_cuda.networks.texture import TextureNetwork
from neuralpatch_cuda.synthesis.optimiser import LBFGS, Adam, Minimiser
from neuralpatch_cuda.synthesis.texture import TextureTerm


@dataclass(frozen=True)
class ScaleSettings:
    """The settings of one scale; see `InpaintConfig`."""

    alpha: float
    beta: float
    content_weight: float
    iterations: int
    rematch_every: int
    patch_size: int
    optimizer: str


@dataclass
class ScaleResult:
    """What one scale came to."""

    image: Tensor
    """The window, `[3, H, W]`, its hole synthesised."""
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    """Mean normalised cross-correlation of each matching."""
    layers: tuple[str, ...] = ()
    """The layers that had patches free of the hole."""
    seconds: float = 0.0


RIM = 4
"""Width in pixels of the band of known pixels that moves along with the hole, and is put back at the end.

Where patches disagree with the photograph, only pixels that may move can make up for it. Without a rim, those at the
very edge of the hole would, and show as a coloured line around it.
"""
RIM_WEIGHT = 10.0
"""Content weight of the rim relative to the hole's: it is known."""

OnIteration = Callable[[int, int, float], bool]
"""Told the iteration, their number and the loss; False stops."""


def with_rim(mask: Tensor) -> Tensor:
    """A bool mask `[H, W]` grown by `RIM` pixels."""
    return F.max_pool2d(mask[None].float(), 2 * RIM + 1, stride=1, padding=RIM)[0] > 0


def synthesise(
    network: TextureNetwork,
    image: Tensor,
    mask: Tensor,
    settings: ScaleSettings,
    on_iteration: OnIteration = lambda iteration, iterations, loss: True,
) -> ScaleResult:
    """Sharpen the hole of one scale.

    Args:
        network: the texture network, on the image's device.
        image: `[3, H, W]`, float32 in [0, 1], the hole filled with the reference: the result of the scale below or
            the content network's prediction.
        mask: the hole, bool `[H, W]`.
    """
    started = time.perf_counter()
    if not mask.any():  # a hole thinner than this scale's pixels
        return ScaleResult(image)
    texture = TextureTerm(network, image, mask, settings.patch_size)
    result = ScaleResult(image, layers=tuple(layer.name for layer in texture.layers))
    if not texture.layers or settings.iterations == 0:
        return result
    rows, columns = texture.crop.slices
    crop, hole = image[:, rows, columns], mask[rows, columns]
    free = with_rim(hole).expand(3, -1, -1)
    reference = crop[free]
    hold = torch.where(hole, 1.0, RIM_WEIGHT).expand(3, -1, -1)[free] * settings.content_weight
    x = reference
    minimiser: Minimiser = Adam() if settings.optimizer == "adam" else LBFGS()

    for iteration in range(settings.iterations):
        renew = iteration == 0 or (settings.rematch_every > 0 and iteration % settings.rematch_every == 0)
        x = x.detach().requires_grad_()
        pixels = crop.masked_scatter(free, x)
        features = texture.features(pixels)
        if renew:
            result.scores.append(texture.match(features))
        loss = (
            (hold * (x - reference).square()).mean()
            + settings.alpha * texture.loss(features)
            + settings.beta * ops.total_variation(pixels, hole) / x.numel()
        )
        (gradient,) = torch.autograd.grad(loss, x)
        result.losses.append(loss.item())
        x = minimiser.step(x.detach(), gradient, renew)
        if not on_iteration(iteration, settings.iterations, result.losses[-1]):
            break

    result.image = image.clone()
    result.image[:, rows, columns] = torch.where(hole, crop.masked_scatter(free, x), crop)
    result.seconds = time.perf_counter() - started
    return result
