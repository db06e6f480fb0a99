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
from neuralpatch_cuda.stages import stage
from neuralpatch_cuda.synthesis.boxes import bounding_box
from neuralpatch_cuda.synthesis.layout import Matches
from neuralpatch_cuda.synthesis.membrane import membrane
from neuralpatch_cuda.synthesis.optimiser import LBFGS, Adam, Minimiser
from neuralpatch_cuda.synthesis.replay import replayed
from neuralpatch_cuda.synthesis.search import Searches
from neuralpatch_cuda.synthesis.sources import Sources
from neuralpatch_cuda.synthesis.texture import TextureTerm, layouts


@dataclass(frozen=True)
class ScaleSettings:
    """The settings of one scale; see `InpaintConfig`."""

    alpha: float
    beta: float
    content_weight: float
    iterations: int
    rematch_every: int
    tolerance: float
    patch_size: int
    optimizer: str
    searches: Searches = field(default_factory=Searches)
    memory_budget: int | None = None


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
    matches: dict[str, Matches] = field(default_factory=dict)
    """Of each layer, the last ones: what the scale above may begin with."""
    seconds: float = 0.0


RIM = 2
"""Width in pixels of the band of known pixels that moves along with the hole, and is put back at the end.

Where patches disagree with the photograph, only pixels that may move can make up for it. Without a rim, those at the
very edge of the hole would, and show as a coloured line around it. How far the rim was moved tells by how much the
hole's colours are off there, and the hole follows it back, smoothly.
"""
LOOK_EVERY = 10
"""Iterations between two looks at the loss, which wait for the GPU, and between two tests of convergence."""

OnIteration = Callable[[int, int, float], bool]
"""Told the iteration, their number and the loss as last read; False stops."""


def with_rim(mask: Tensor) -> Tensor:
    """A bool mask `[H, W]` grown by `RIM` pixels."""
    return F.max_pool2d(mask[None].float(), 2 * RIM + 1, stride=1, padding=RIM)[0] > 0


class Objective:
    """Content + alpha * texture + beta * TV, of the pixels of the hole and its rim.

    Every buffer is made once, and an evaluation waits for nothing, so that it can be captured in a CUDA graph.
    """

    def __init__(
        self, network: TextureNetwork, image: Tensor, mask: Tensor, settings: ScaleSettings, sources: Sources
    ) -> None:
        """Start from the pixels of `image`, which are the reference too; see `synthesise` for the arguments."""
        free = with_rim(mask)
        self.box = bounding_box(free)
        rows, columns = self.box.slices
        self._hole, free = mask[rows, columns].contiguous(), free[rows, columns]
        self.pixels = image[:, rows, columns].clone(memory_format=torch.contiguous_format)
        """Of the box around hole and rim, `[3, h, w]`."""
        self._variation_gradient = torch.empty_like(self.pixels)
        self._position = free.flatten().nonzero()[:, 0]
        self._reference = self.values.clone()
        # Both terms are means over the variables.
        self._hold = settings.content_weight / len(self._reference)
        self._beta = settings.beta / len(self._reference)
        self.texture = TextureTerm(
            network,
            image,
            mask,
            self.box,
            settings.patch_size,
            settings.alpha,
            settings.searches,
            sources,
            settings.memory_budget,
        )

    @property
    def values(self) -> Tensor:
        """The variables: the pixels of hole and rim, one channel after the other, `[3 n]`."""
        return self._variables_of(self.pixels)

    def _variables_of(self, x: Tensor) -> Tensor:
        return x.flatten(1).index_select(1, self._position).flatten()

    def move(self, values: Tensor) -> None:
        """Put these values into the pixels, and compute their features."""
        self.put(values)
        self.texture.set_pixels(self.pixels)

    def put(self, values: Tensor) -> None:
        """Put these values into the pixels."""
        self.pixels.view(3, -1).index_copy_(1, self._position, values.view(3, -1))

    def evaluate(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and gradient `[3 n]` at the point last moved to, whose values these are."""
        texture, texture_gradient = self.texture.loss_and_gradient()
        with stage("total variation"):
            variation, variation_gradient = ops.total_variation_and_gradient(
                self.pixels, self._hole, self._variation_gradient
            )
            gradient = self._variables_of(torch.add(texture_gradient, variation_gradient, alpha=self._beta))
        with stage("content loss"):
            change = values - self._reference
            held = self._hold * change
            content = torch.dot(held, change)
            gradient = torch.add(gradient, held, alpha=2)
        return content + texture + self._beta * variation, gradient


def synthesise(
    network: TextureNetwork,
    image: Tensor,
    mask: Tensor,
    settings: ScaleSettings,
    sources: Sources | None = None,
    on_iteration: OnIteration = lambda iteration, iterations, loss: True,
) -> ScaleResult:
    """Sharpen the hole of one scale.

    Args:
        network: the texture network, on the image's device.
        image: `[3, H, W]`, float32 in [0, 1], the hole filled with the reference: the result of the scale below or
            the content network's prediction.
        mask: the hole, bool `[H, W]`.
        settings: of this scale.
        sources: where patches may be taken from; by default the window.
        on_iteration: told of every iteration.
    """
    started = time.perf_counter()
    if not mask.any():  # a hole thinner than this scale's pixels
        return ScaleResult(image)
    sources = sources or Sources(torch.ones_like(mask))
    if settings.iterations == 0:  # no features are needed
        return ScaleResult(image, layers=tuple(layouts(network, mask, settings.patch_size, sources)))
    objective = Objective(network, image, mask, settings, sources)
    texture = objective.texture
    result = ScaleResult(image, layers=tuple(layer.name for layer in texture.layers))
    if not texture.layers:
        return result
    x = objective.values
    minimiser: Minimiser = Adam(x) if settings.optimizer == "adam" else LBFGS(x)
    loss = x.new_zeros(())

    def descend() -> None:
        value, gradient = objective.evaluate(x)
        loss.copy_(value)
        with stage("optimiser step"):
            x.copy_(minimiser.step(x, gradient))

    move, descend = replayed(lambda: objective.move(x), x.device), replayed(descend, x.device)
    losses, scores = x.new_zeros(settings.iterations), []
    seen = float("inf")
    for iteration in range(settings.iterations):
        move()
        if iteration == 0 or (settings.rematch_every > 0 and iteration % settings.rematch_every == 0):
            scores.append(texture.match())
            minimiser.renew()
        descend()
        losses[iteration].copy_(loss)
        converged = False
        if iteration % LOOK_EVERY == 0:
            before, seen = seen, loss.item()
            converged = settings.tolerance > 0 and before - seen < settings.tolerance * before
        if not on_iteration(iteration, settings.iterations, seen) or converged:
            break

    result.losses = losses[: iteration + 1].tolist()
    result.scores = torch.stack(scores).tolist()
    result.matches = {layer.name: layer.matches for layer in texture.layers}
    objective.put(x)
    with stage("composite"):
        rows, columns = objective.box.slices
        hole, known = mask[rows, columns], image[:, rows, columns]
        rim = with_rim(hole) & ~hole
        pixels = objective.pixels
        if rim.any():  # not where the hole is the whole window
            pixels = (pixels + membrane(known - pixels, rim)).clamp(0, 1)
        result.image = image.clone()
        result.image[:, rows, columns] = torch.where(hole, pixels, known)
    result.seconds = time.perf_counter() - started
    return result
