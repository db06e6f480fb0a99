"""How long a fill will take on this machine, before it begins and while it runs.

The work of every scale is counted from the hole alone: iterations, multiplications of the network, pairs of patches to
be compared, and so on. What a unit of each kind costs is learnt from the fills that were done.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import nnls
from torch import Tensor

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.imaging.masks import grow
from neuralpatch_cuda.inpainter import Inpainter, Progress, ScaleInfo, is_fine, iterations_at, strip_iterations
from neuralpatch_cuda.networks.texture import CHANNELS, LAYERS, STRIDE
from neuralpatch_cuda.synthesis.boxes import Box
from neuralpatch_cuda.synthesis.features import reach
from neuralpatch_cuda.synthesis.layout import dilate_cells
from neuralpatch_cuda.synthesis.memory import MOST_PIXELS
from neuralpatch_cuda.synthesis.pyramid import THIN, is_thin, resize, scale_sizes
from neuralpatch_cuda.synthesis.scale import RIM
from neuralpatch_cuda.synthesis.search import FIRST_ROUNDS, MANY_PRODUCTS, ROUNDS
from neuralpatch_cuda.synthesis.thin import divide
from neuralpatch_cuda.synthesis.windows import find_strip_windows, find_windows

Work: TypeAlias = NDArray[np.float64]
"""How much of each kind of work there is, in the order and the units of `COSTS`."""

COSTS = {
    "scale": 0.02,  # one that is iterated on
    "iteration": 0.003,  # one
    "pixels": 0.15,  # 10^6 of the box that changes, times iterations
    "products": 0.0105,  # 10^9 multiplications of the network, over what the box reaches, times iterations
    "tiled products": 0.0065,  # the same again, where the box is too large to do without tiles
    "known": 0.0065,  # 10^9 multiplications of the network, over the window
    "exact": 0.008,  # 10^9 pairs of a patch of the hole and one of the window, times channels
    "patchmatch": 16.0,  # 10^9 patches of the hole, times channels and rounds
    "membrane": 0.3,  # 10^6 pixels of the box that changes
    "interpolated": 20.0,  # 10^6 thin pixels
    "photograph": 0.02,  # one
    "photograph pixels": 0.005,  # 10^6
    "window": 0.02,  # one
    "window pixels": 0.12,  # 10^6, of all scales
}
"""Seconds per unit of each kind of work, measured on two cores of an AMD EPYC (Zen 4) in bfloat16."""

RECENT = 200
"""Scales and fills that are remembered: machines become slower and faster again."""

PRIOR = 0.003
"""How many observations the costs above are worth, each on its own; their common speed counts for nothing."""

TRUST, TRUSTED_SHARE = 0.2, 0.1
"""Seconds, and share of a fill, for which its course says no more about its speed than the forecast does."""

BRIEF = 0.05
"""Seconds; an error in what takes less weighs as if it took about that."""


def work(**counts: float) -> Work:
    """So much of these kinds of work, spelt with underscores; none of the others."""
    return np.array([counts.get(kind.replace(" ", "_"), 0.0) for kind in COSTS])


@dataclass(frozen=True)
class Shape:
    """The hole of a window at one scale."""

    size: tuple[int, int]
    """Of the window."""
    box: Box
    """Around the hole; empty where the hole is thinner than the scale's pixels."""
    thin: bool
    queries: dict[int, int]
    """Patches that touch the hole, by the pixels per cell of their layer; only where there are some."""


@dataclass(frozen=True)
class Shapes:
    """A hole, as far as the work that it makes depends on it."""

    windows: list[list[Shape]]
    """Of each window with thick holes, the hole at each scale, coarsest first."""
    strips: list[Shape]
    """Of each window with strips, the hole."""
    thin_pixels: int


@lru_cache(maxsize=8)
def shapes_of(
    packed: bytes,
    size: tuple[int, int],
    feather: int,
    context: float,
    scales: int | None,
    patch_size: int,
    strides: tuple[int, ...],
) -> Shapes:
    """The shapes of a hole.

    Args:
        packed: the hole, eight pixels to a byte.
        size: height and width of the photograph.
        feather, context, scales, patch_size: see `InpaintConfig`.
        strides: pixels per cell of the layers.
    """
    pixels = np.unpackbits(np.frombuffer(packed, np.uint8), count=size[0] * size[1]).reshape(size).view(np.bool_)
    parts = divide(grow(torch.from_numpy(pixels), feather))
    found = []
    for window in find_windows(parts.thick, context):
        part = parts.thick[window.box.slices]
        image = Image.fromarray(part.numpy() * np.uint8(255))
        shapes: list[Shape] = []
        for height, width in reversed(scale_sizes(part.shape[0], part.shape[1], scales)):
            image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0)
            shapes.insert(0, shape_of(np.asarray(image) > 127, patch_size, strides))
        found.append(shapes)
        part &= ~window.own  # as it will be known to later windows
    strips = [shape_of(window.own.numpy(), patch_size, strides) for window in find_strip_windows(parts.strips)]
    return Shapes(found, strips, int(parts.thin.sum()))


def shape_of(hole: NDArray[np.bool_], patch_size: int, strides: tuple[int, ...]) -> Shape:
    """See `shapes_of`; the hole is `[H, W]`."""
    size = hole.shape[0], hole.shape[1]
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    if not len(rows):
        return Shape(size, Box(0, 0, 0, 0), True, {})
    box = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    queries = {}
    for stride in strides:
        whole = Box(0, 0, size[0] // stride, size[1] // stride)
        around = box.coarser(stride).grown(patch_size).intersection(whole)
        cells = hole[around.finer(stride).slices].reshape(around.height, stride, -1).any(1)
        cells = cells.reshape(around.height, around.width, stride).any(2)
        queries[stride] = int(dilate_cells(torch.from_numpy(cells), patch_size).sum())
    thin = is_thin(torch.from_numpy(hole[box.grown(THIN).intersection(Box(0, 0, *size)).slices]))
    return Shape(size, box, thin, {s: n for s, n in queries.items() if n > 0})


@dataclass(frozen=True)
class ScaleWork:
    """The work of one scale."""

    iterations: int
    rematch_every: int
    once: Work
    """The first matching included."""
    iteration: Work
    matching: Work
    """Each after the first."""

    def done(self, iterations: int, matchings: int) -> Work:
        """Of so many iterations and matchings, and what is done once."""
        return self.once + iterations * self.iteration + max(0, matchings - 1) * self.matching

    def until(self, iterations: int) -> Work:
        """Of the first iterations."""
        return self.done(iterations, 1 + (iterations - 1) // self.rematch_every if self.rematch_every else 1)

    @property
    def whole(self) -> Work:
        return self.until(self.iterations)


def scale_work(config: InpaintConfig, shape: Shape, iterations: int, fine: bool) -> ScaleWork:
    """Of a scale, by its hole, how often it is optimised, and whether it is fine; as `Inpainter` would do it."""
    layers = config.layers
    if fine:
        layers = tuple(layer for layer in layers if layer in config.fine_layers) or layers
    used = [layer for layer in layers if STRIDE[layer] in shape.queries]
    if iterations == 0 or not used:
        return ScaleWork(0, 0, work(), work(), work())

    (height, width), patch = shape.size, config.patch_size
    supports = {}
    once, matching = work(), work()
    for layer in used:
        stride, channels = STRIDE[layer], CHANNELS[layer]
        rows, columns = height // stride, width // stride
        supports[layer] = shape.box.coarser(stride).grown(patch - 1).intersection(Box(0, 0, rows, columns))
        vectors = shape.queries[stride] * channels
        pairs = float(vectors) * (rows - patch + 1) * (columns - patch + 1)
        if config.search == "exact" or (config.search == "auto" and pairs <= MANY_PRODUCTS):
            once, matching = once + work(exact=pairs / 1e9), matching + work(exact=pairs / 1e9)
        else:
            once = once + work(patchmatch=vectors * FIRST_ROUNDS / 1e9)
            matching = matching + work(patchmatch=vectors * ROUNDS / 1e9)
    depth = next(depth for depth in LAYERS.values() if set(layers) <= set(depth))
    depth = depth[: 1 + max(map(depth.index, used))]
    box = shape.box.grown(RIM).intersection(Box(0, 0, height, width))
    _, computed = reach(depth, box, supports, height, width)
    products = known = 0
    for layer, inputs, cells in zip(depth, (3, *map(CHANNELS.__getitem__, depth)), computed, strict=False):
        weights = 9 * inputs * CHANNELS[layer]
        products += weights * cells.height * cells.width
        known += weights * (height // STRIDE[layer]) * (width // STRIDE[layer])
    pixels = box.height * box.width / 1e6
    once = once + work(scale=1, known=known / 1e9, membrane=pixels)
    # On a GPU it takes larger boxes to need tiles; that they cost nothing before will be learnt.
    tiled = products if box.height * box.width > MOST_PIXELS else 0
    iteration = work(iteration=1, pixels=pixels, products=products / 1e9, tiled_products=tiled / 1e9)
    return ScaleWork(iterations, config.rematch_every, once, iteration, matching)


def window_work(config: InpaintConfig, shapes: Sequence[Shape]) -> list[ScaleWork]:
    """Of each scale of a window with thick holes, by the hole at all its scales."""
    sizes = [shape.size for shape in shapes]
    return [
        scale_work(
            config, shape, 0 if shape.thin else iterations_at(config, number, sizes), is_fine(config, shape.size)
        )
        for number, shape in enumerate(shapes)
    ]


@dataclass(frozen=True)
class Plan:
    """What a fill has to do, and how long that takes."""

    scales: list[list[ScaleWork]]
    """Of each window, coarsest first."""
    rest: Work
    """Outside of them."""
    costs: Work
    """Seconds per unit."""

    @property
    def seconds(self) -> float:
        """Of the whole fill."""
        return float(self.costs @ sum((scale.whole for window in self.scales for scale in window), self.rest))

    def left(self, progress: Progress, elapsed: float) -> float:
        """Seconds left where a run stands after so many seconds, if it goes on as fast as it went so far."""
        done = self.rest * (progress.window + 1) / len(self.scales)  # most of it comes before a window's scales
        before = [scale for window in self.scales[: progress.window] for scale in window]
        scales = self.scales[progress.window]
        done = sum((scale.whole for scale in before + scales[: progress.scale]), done)
        seconds = float(self.costs @ (done + scales[progress.scale].until(progress.iteration + 1)))
        trust = TRUST + TRUSTED_SHARE * self.seconds
        return max(0.0, self.seconds - seconds) * (elapsed + trust) / (seconds + trust)


class Forecast:
    """Predicts how long fills take on this machine, and learns from those that were done. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: deque[tuple[Work, float]] = deque(maxlen=RECENT)
        self._costs = np.array(list(COSTS.values()))

    def plan(self, config: InpaintConfig, hole: Tensor) -> Plan:
        """The plan of a fill.

        Args:
            config: of the fill.
            hole: as `to_hole` gives it with this configuration: bool `[H, W]`.
        """
        size = hole.shape[0], hole.shape[1]
        strides = tuple(sorted({STRIDE[layer] for layer in config.layers}))
        packed = np.packbits(hole.numpy(force=True)).tobytes()
        shapes = shapes_of(packed, size, config.feather, config.context, config.scales, config.patch_size, strides)
        scales = [window_work(config, window) for window in shapes.windows]
        scales += [
            [scale_work(config, strip, strip_iterations(config, strip.size), fine=True)] for strip in shapes.strips
        ]
        windows = [*shapes.windows, *([strip] for strip in shapes.strips)]
        pixels = sum(shape.size[0] * shape.size[1] for window in windows for shape in window) / 1e6
        rest = work(
            photograph=1,
            photograph_pixels=hole.numel() / 1e6,
            interpolated=shapes.thin_pixels / 1e6,
            window=len(windows),
            window_pixels=pixels,
        )
        with self._lock:
            return Plan(scales, rest, self._costs)

    def learn(self, plan: Plan, scales: Sequence[ScaleInfo], seconds: float) -> None:
        """Take account of a fill: of its scales, and of the seconds it took in all."""
        rows = [
            (plan.scales[each.window][each.scale].done(len(each.losses), len(each.scores)), each.seconds)
            for each in scales
            if each.losses
        ]
        if len(scales) == sum(map(len, plan.scales)):
            rows.append((plan.rest, seconds - sum(each.seconds for each in scales)))
        with self._lock:
            self._seen.extend(row for row in rows if row[1] > 0 and row[0].any())
            if self._seen:
                works, times = zip(*self._seen, strict=True)
                self._costs = fit(np.array(works), np.array(times))


def fit(works: NDArray[np.float64], seconds: NDArray[np.float64]) -> Work:
    """Costs, from amounts of work `[N, kinds]` and the seconds that each took: least squares of relative errors."""
    prior = np.array(list(COSTS.values()))
    prior *= np.median(seconds / (works @ prior))  # the machine's speed
    scale = seconds + BRIEF
    equations = np.concatenate([works * prior / scale[:, None], PRIOR**0.5 * np.eye(len(prior))])
    factors: Work = nnls(equations, np.concatenate([seconds / scale, np.full(len(prior), PRIOR**0.5)]))[0]
    return prior * factors


class Trial(NamedTuple):
    """A fill that is made for its time alone: a hole in the middle of an artificial photograph."""

    side: int
    """Of the photograph, in pixels; the hole is half as wide and high."""
    changes: dict[str, Any]
    """To the painter's configuration."""


TRIALS = (
    Trial(256, {"iterations": 2, "scales": 1}),
    Trial(384, {"iterations": 10, "fine_side": None, "rematch_every": 3}),
    Trial(768, {"iterations": 4, "fine_side": 300, "rematch_every": 2, "scales": 1}),
    Trial(1024, {"iterations": 2, "fine_side": 300, "rematch_every": 1, "scales": 1, "search": "patchmatch"}),
)
"""The first one warms up, and is not learnt from. The last one's features are too many for most caches."""

PLAIN: dict[str, Any] = {"feather": 0, "mask_dilate": 0, "invert_mask": False, "context": 0.5, "search": "exact"}
"""What trials have in common."""


def calibrate(painter: Inpainter, forecast: Forecast) -> None:
    """Let the forecast learn from a few small fills, which take some seconds on a CPU."""
    for number, (side, changes) in enumerate(TRIALS):
        config = InpaintConfig(**(dict(painter.config) | PLAIN | changes))
        trial = copy.copy(painter)  # with the same networks
        trial.config = config
        hole = torch.zeros(side, side, dtype=torch.bool, device="cpu")
        hole[side // 4 : side * 3 // 4, side // 4 : side * 3 // 4] = True
        info = trial(artificial_photograph(side), hole, return_info=True).info
        if number > 0:
            forecast.learn(forecast.plan(config, hole), info.scales, info.seconds)


def artificial_photograph(side: int) -> Tensor:
    """`[3, side, side]` in [0, 1], with details of all sizes, always the same."""
    generator = torch.Generator("cpu").manual_seed(0)
    octaves = []
    cells = 4
    while cells <= side:
        white = torch.randn(3, cells, cells, generator=generator, dtype=torch.float32, device="cpu")
        octaves.append(resize(white / cells**0.5, (side, side)))
        cells *= 2
    return (0.5 + 0.3 * torch.stack(octaves).sum(0)).clamp(0, 1)
