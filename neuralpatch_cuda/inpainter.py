"""High-resolution image inpainting by multi-scale neural patch synthesis (Yang et al., CVPR 2017).

`Inpainter.fill_window` is the paper's algorithm: the content network predicts the hole at the coarsest scale, then
each scale is sharpened by joint content and texture optimisation and handed up to the next.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar, overload

import torch
from PIL import Image
from torch import Tensor

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.device import choose_device, choose_dtype, own_modes, own_stream
from neuralpatch_cuda.errors import DeviceError, ImageError, MaskError
from neuralpatch_cuda.imaging.images import ImageLike, ImageT, composite, cut, paste, size_of, to_rgb, working_copy
from neuralpatch_cuda.imaging.masks import feather_weight, grow, to_hole, to_region
from neuralpatch_cuda.networks.texture import STRIDE, TextureNetwork
from neuralpatch_cuda.networks.weights import load_texture_network
from neuralpatch_cuda.pipeline import ahead, in_order
from neuralpatch_cuda.stages import stage
from neuralpatch_cuda.synthesis.boxes import Box, bounding_box
from neuralpatch_cuda.synthesis.content import resolve_content_network
from neuralpatch_cuda.synthesis.exemplar import smooth_fill
from neuralpatch_cuda.synthesis.fallback import find_patches
from neuralpatch_cuda.synthesis.layout import Matches
from neuralpatch_cuda.synthesis.memory import default_budget
from neuralpatch_cuda.synthesis.pyramid import is_thin, resize, scale_sizes, shrink
from neuralpatch_cuda.synthesis.scale import ScaleResult, ScaleSettings, synthesise
from neuralpatch_cuda.synthesis.search import Searches
from neuralpatch_cuda.synthesis.sources import Exemplar, Sources, sources_of
from neuralpatch_cuda.synthesis.thin import HALO, LEAST_SIDE, TILE, Division, divide, interpolate
from neuralpatch_cuda.synthesis.tiles import tiles
from neuralpatch_cuda.synthesis.windows import Window, find_strip_windows, find_windows

T = TypeVar("T")

THIN_ITERATIONS = 2
"""At most, for scratches and wires, which have no other scale than the photograph's."""

BLOTCH = 8
"""Pixels of the coarsest scale between which noise changes: a cell of relu4_1, so that other patches are matched."""

SHORTAGE = "Near a hole, no patch of known pixels of the usual size is left to copy from"
SMALLER_PATCHES = "smaller ones were copied, which hold less texture"
NO_PATCHES = "the content network's prediction was kept, which is blurred"

LEAST_BUDGET = 2**26
"""Bytes; a GPU that has less to spare is given up."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a run stands, as told to the callback; window, scale and iteration count from 0."""

    window: int
    windows: int
    scale: int
    scales: int
    iteration: int
    iterations: int
    loss: float
    """Value of the objective when it was last read, which is every 10 iterations."""


Callback = Callable[[Progress], Any]
"""Called after every iteration; returning False (not None) ends the optimisation with what there is."""


@dataclass(frozen=True)
class ScaleInfo:
    """What happened at one scale of one window."""

    window: int
    scale: int
    box: Box
    """The window's place in the photograph, in its pixels."""
    image: Image.Image
    """The window with its hole as this scale left it."""
    losses: list[float]
    """Value of the objective before each step."""
    scores: list[float]
    """Mean normalised cross-correlation of the matched patches, once per matching."""
    layers: tuple[str, ...]
    """The texture layers that had patches free of the hole."""
    seconds: float

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the window at this scale."""
        return self.image.height, self.image.width


ScaleCallback = Callable[[ScaleInfo], Any]
"""Called when a scale is done."""


@dataclass
class InpaintInfo:
    """The course of a run."""

    scales: list[ScaleInfo] = field(default_factory=list)
    """Window by window, coarsest scale first; none where the whole hole is interpolated, as hairlines are."""
    seconds: float = 0.0
    peak_memory: int | None = None
    """Most bytes PyTorch held on the GPU; None on the CPU."""


@dataclass
class InpaintResult(Generic[ImageT]):
    """A filled image and how it came about."""

    image: ImageT
    info: InpaintInfo


@dataclass
class Recorder:
    """Keeps the run's record and tells the callbacks."""

    callback: Callback | None
    on_scale: ScaleCallback | None
    windows: Sequence[Window]
    info: InpaintInfo = field(default_factory=InpaintInfo)
    window: int = 0
    scale: int = 0
    scales: int = 0
    stopped: bool = False
    shortage: str | None = None
    """What was done about a hole that left no known patch of the usual size."""

    def iteration(self, iteration: int, iterations: int, loss: float) -> bool:
        """Tell the callback; False when it wants no more."""
        if self.callback is not None:
            event = Progress(self.window, len(self.windows), self.scale, self.scales, iteration, iterations, loss)
            self.stopped = self.callback(event) is False
        return not self.stopped

    def finish_scale(self, result: ScaleResult) -> None:
        """Add a scale to the record, and tell of it."""
        scale = ScaleInfo(
            self.window,
            self.scale,
            self.windows[self.window].box,
            to_picture(result.image),
            result.losses,
            result.scores,
            result.layers,
            result.seconds,
        )
        self.info.scales.append(scale)
        if self.on_scale is not None:
            self.on_scale(scale)


class Inpainter:
    """Fills holes in photographs; loads its networks once and can be called many times, by several threads at once."""

    def __init__(self, config: InpaintConfig | None = None, device: str | torch.device = "auto") -> None:
        """Load the networks.

        Args:
            config: the settings; defaults where None.
            device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".

        Raises:
            DeviceError: the device is not there.
            FileNotFoundError: a network's file is not there.
            WeightsError: a network is unknown or its weights cannot be had.
            NetworkError: the content network cannot be imported.
        """
        self.config = config or InpaintConfig()
        self.device = choose_device(device)
        self.dtype = choose_dtype(self.config.precision, self.device)
        with stage("load networks"):
            self._content = resolve_content_network(self.config.content_network).to(self.device)
            self._texture = load_texture_network(self.config.texture_network, self.config.layers)
            self._texture.to(self.device, self.dtype)
            common = [layer for layer in self.config.layers if layer in self.config.fine_layers]
            self._fine_texture = self._texture.narrowed(common or self.config.layers)

    @overload
    def __call__(
        self,
        image: ImageT,
        mask: Any,
        *,
        source_mask: Any = None,
        exemplars: Sequence[ImageLike] = (),
        return_info: Literal[False] = False,
        callback: Callback | None = None,
        on_scale: ScaleCallback | None = None,
    ) -> ImageT: ...

    @overload
    def __call__(
        self,
        image: ImageT,
        mask: Any,
        *,
        source_mask: Any = None,
        exemplars: Sequence[ImageLike] = (),
        return_info: Literal[True],
        callback: Callback | None = None,
        on_scale: ScaleCallback | None = None,
    ) -> InpaintResult[ImageT]: ...

    @own_modes()
    def __call__(
        self,
        image: ImageT,
        mask: Any,
        *,
        source_mask: Any = None,
        exemplars: Sequence[ImageLike] = (),
        return_info: bool = False,
        callback: Callback | None = None,
        on_scale: ScaleCallback | None = None,
    ) -> ImageT | InpaintResult[ImageT]:
        """Fill the hole.

        Args:
            image: PIL image; or array `[H, W]` or `[H, W, C]`, uint8, uint16 or float in [0, 1]; or tensor
                `[C, H, W]`, uint8 or float in [0, 1]. Inside the hole, any value will do, NaN and infinity included.
            mask: of the same height and width. Of an array or a tensor, what is not 0 is filled; of a PIL image what
                is white, or painted in another colour on black or on nothing, see `to_hole`.
            source_mask: the same, of the part of the image that patches may be taken from, however far from the hole;
                by default its surroundings, see `InpaintConfig.context`.
            exemplars: other images that patches may be taken from as well, of any size, such as photographs of the
                same scene; at the image's own scale.
            return_info: also return losses, timings and the image of every scale.
            callback: told of every iteration; returning False ends the optimisation with what there is.
            on_scale: told of every scale of every window when it is done. What either of the two raises ends the run.

        Returns:
            The filled image, of the same type, dtype, size and device; outside the mask (dilated and feathered as
            configured) it is bit-identical to the input.

        Raises:
            ImageError, MaskError, TypeError: the input cannot be used, and why.
            DeviceError: the GPU has too little memory.
            NetworkError: a content network of another maker fails or returns no image.
        """
        started = time.perf_counter()
        config = self.config
        with stage("prepare image and mask"):
            least = config.patch_size * min(map(STRIDE.__getitem__, self._texture.layers))
            output = working_copy(image)
            size = size_of(output)
            hole = to_hole(mask, size, config.invert_mask, config.mask_dilate, config.resize_mask)
            region = None if source_mask is None else to_region(source_mask, size, config.resize_mask)
            others = tuple(_exemplar(n, each, least).to(self.device) for n, each in enumerate(exemplars, 1))
            # What is blended around the hole must have been synthesised, too.
            unknown = grow(hole, config.feather)
            if region is not None and not exemplars and not (region & ~unknown).any():
                raise MaskError("The source mask marks no known pixel: there is nothing to copy from.")
            parts = divide(unknown)
            windows = find_windows(parts.thick, config.context)
            thick = len(windows)
            windows += find_strip_windows(parts.strips)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        generator = torch.Generator("cpu").manual_seed(config.seed)
        record = Recorder(callback, on_scale, windows)
        self._fill_thin(output, hole, parts)
        try:
            for record.window, window in enumerate(windows):
                fill = self.fill_window if record.window < thick else self.sharpen_strips
                self._fill_holes(output, hole, parts, window, fill, region, others, generator, record)
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{self.device} has too little memory for this hole; use less context or the CPU."
            ) from error
        if record.shortage:
            warnings.warn(f"{SHORTAGE}; {record.shortage}.", stacklevel=2)
        info = record.info
        info.seconds = time.perf_counter() - started
        if self.device.type == "cuda":
            info.peak_memory = torch.cuda.max_memory_allocated(self.device)
        return InpaintResult(output, info) if return_info else output

    def map(self, pairs: Iterable[tuple[ImageT, Any]], jobs: int = 1) -> Iterator[ImageT | Exception]:
        """Fill many images; while one is filled, a thread fetches the next pair.

        Args:
            pairs: images and masks, as of a call; a generator may read them from files, one by one.
            jobs: how many are filled at once, by threads if more than one, which go on while the caller is busy with a
                result; small holes leave a GPU idle that several of them would fill.

        Yields:
            In the order of the pairs, the filled image, or what a call would raise: an error ends nothing.

        Raises:
            Exception: what `pairs` itself raises.
        """

        def fill(pair: tuple[ImageT, Any]) -> ImageT | Exception:
            try:
                with own_stream(self.device):
                    return self(*pair)
            except Exception as error:
                return error

        fetched = ahead(pairs)
        # By one thread it is the caller's: see `batch.local.run_here`.
        return in_order(fill, fetched, workers=jobs) if jobs > 1 else map(fill, fetched)

    def _fill_thin(self, output: ImageT, hole: Tensor, parts: Division) -> None:
        """Interpolate a hole's thin parts in the output, tile by tile."""
        if not parts.thin.any():
            return
        whole = Box(0, 0, *hole.shape)
        side = TILE if min(hole.shape) >= LEAST_SIDE else max(hole.shape)
        for tile in tiles(bounding_box(parts.thin), side):
            if not parts.thin[tile.slices].any():
                continue
            box = tile.grown(HALO).intersection(whole)
            own = torch.zeros(box.height, box.width, dtype=torch.bool, device="cpu")
            own[tile.inside(box)] = parts.thin[tile.slices]
            part = cut(output, box)
            with stage("thin holes"):
                image = to_rgb(part, missing=hole[box.slices]).cpu()
                filled = interpolate(image, parts.thin[box.slices], parts.thick[box.slices])
            with stage("composite"):
                weight = feather_weight(hole[box.slices], self.config.feather) * own
                paste(output, composite(part, filled, weight), box)

    def _fill_holes(
        self,
        output: ImageT,
        hole: Tensor,
        parts: Division,
        window: Window,
        fill: Callable[[Tensor, Tensor, Sources, torch.Generator, Recorder], Tensor],
        region: Tensor | None,
        exemplars: tuple[Exemplar, ...],
        generator: torch.Generator,
        record: Recorder,
    ) -> None:
        """Fill a window's own holes in the output, and take them from the parts to fill; only it is held in floats."""
        box, own = window.box, window.own
        rows, columns = box.slices

        def read(box: Box) -> Tensor:
            missing = hole[box.slices] & parts.thick[box.slices]  # some of the hole is filled by now
            return to_rgb(cut(output, box), missing=missing)

        with stage("prepare image and mask"):
            part = cut(output, box)
            pixels = read(box).to(self.device)
            sources = sources_of(lambda box: read(box).cpu(), parts.thick, parts.strips, box, region, exemplars)
        # Parts of later windows' holes are filled along, for what is around them, and given up again.
        mask = (own | parts.thick[rows, columns]).to(self.device)
        filled = fill(pixels, mask, sources.to(self.device), generator, record)
        with stage("composite"):
            weight = feather_weight(hole[rows, columns], self.config.feather) * own
            paste(output, composite(part, filled, weight), box)
        for each in (parts.thick, parts.strips):
            each[rows, columns] &= ~own

    def fill_window(
        self, image: Tensor, mask: Tensor, sources: Sources, generator: torch.Generator, record: Recorder
    ) -> Tensor:
        """Algorithm 1 of the paper, for one window: image `[3, H, W]` and hole, bool `[H, W]`."""
        config = self.config
        x = self.predict_content(image, mask)
        height, width = mask.shape
        sizes = scale_sizes(height, width, config.scales)
        record.scales = len(sizes)
        matches: dict[str, Matches] = {}
        least = config.patch_size * STRIDE[self._texture.layers[-1]]
        usual = self._network_at(sizes[-1]), config.patch_size
        found = find_patches(*usual, mask, sources.at(sizes[-1], least))
        for record.scale, size in enumerate(sizes):
            with stage("resize"):
                known, hole = shrink(image, mask, size)
                x = torch.where(hole, resize(x, size).clamp(0, 1), known)
            if config.noise > 0 and record.scale == 0:
                x = torch.where(hole, (x + config.noise * blotches(size, generator).to(x)).clamp(0, 1), x)
            # What lies around a thin hole says more than any synthesis at a coarse scale.
            iterations = 0 if record.stopped or is_thin(hole) else iterations_at(config, record.scale, sizes)
            if iterations and found != usual:
                record.shortage = SMALLER_PATCHES if found else NO_PATCHES
            if found is None:
                iterations = 0
            network, patch_size = found if found and found != usual else (self._network_at(size), config.patch_size)
            settings = self._settings(iterations, record.scale, patch_size, matches)
            result = self._synthesise(network, x, hole, settings, sources.at(size, least), record)
            x, matches = result.image, result.matches or matches
            record.finish_scale(result)
        return x

    def sharpen_strips(
        self, image: Tensor, mask: Tensor, sources: Sources, generator: torch.Generator, record: Recorder
    ) -> Tensor:
        """Give interpolated strips the texture around them, at the photograph's scale; arguments of `fill_window`."""
        height, width = mask.shape
        record.scale, record.scales = 0, 1
        iterations = 0 if record.stopped else strip_iterations(self.config, (height, width))
        finest = len(scale_sizes(height, width, self.config.scales)) - 1
        settings = self._settings(iterations, finest, self.config.patch_size, {})
        # Their structure is settled, as on fine scales.
        result = self._synthesise(self._fine_texture, image, mask, settings, sources, record)
        record.finish_scale(result)
        return result.image

    def _settings(self, iterations: int, scale: int, patch_size: int, coarser: dict[str, Matches]) -> ScaleSettings:
        """Of a scale, by how often it is optimised, its number, its patches, and the matches of the scale below."""
        config = self.config
        return ScaleSettings(
            alpha=config.alpha,
            beta=config.beta,
            content_weight=at_scale(config.content_weight, scale),
            iterations=iterations,
            rematch_every=config.rematch_every,
            tolerance=config.tolerance,
            patch_size=patch_size,
            optimizer=config.optimizer,
            searches=Searches(config.search, coarser, config.seed),
            memory_budget=config.memory_budget,
        )

    def _network_at(self, size: tuple[int, int]) -> TextureNetwork:
        """The texture network of a scale of this height and width."""
        return self._fine_texture if is_fine(self.config, size) else self._texture

    def _synthesise(
        self,
        network: TextureNetwork,
        x: Tensor,
        hole: Tensor,
        settings: ScaleSettings,
        sources: Sources,
        record: Recorder,
    ) -> ScaleResult:
        """One scale; where the GPU has too little memory for it, once more with half as much, and so on."""
        while True:
            try:
                return synthesise(network, x, hole, settings, sources, record.iteration)
            except torch.OutOfMemoryError:
                budget = (settings.memory_budget or default_budget(self.device)) // 2
                if budget < LEAST_BUDGET:
                    raise
            # Out of the handler, which held on to what the failed attempt had allocated.
            torch.cuda.empty_cache()
            logger.warning("%s ran out of memory; goes on with a budget of %d MB.", self.device, budget // 10**6)
            settings = replace(settings, memory_budget=budget)

    def predict_content(self, image: Tensor, mask: Tensor) -> Tensor:
        """The content network's filling of a window, at its short side or the window's own if less.

        Where nothing known would be left at that size, the smooth fill at the window's own.
        """
        height, width = mask.shape
        ratio = min(1.0, (self.config.content_side or self._content.side) / min(height, width))
        with stage("resize"):
            known, hole = shrink(image, mask, (round(height * ratio), round(width * ratio)))
        if hole.all():  # all that is known is too thin to be seen at this size
            return smooth_fill(image, mask)
        with stage("content network"), torch.no_grad():
            guess: Tensor = self._content(known[None], hole[None, None].to(known.dtype))
        return guess[0].clamp(0, 1)


def _exemplar(number: int, image: ImageLike, smallest_side: int) -> Exemplar:
    try:
        return Exemplar.whole(to_rgb(image, smallest_side))
    except ImageError as error:
        raise ImageError(f"Exemplar {number} cannot be used: {error}") from error


def to_picture(image: Tensor) -> Image.Image:
    """A float tensor `[3, H, W]` in [0, 1] as an 8-bit PIL image."""
    return Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy(force=True))


def blotches(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Smooth noise of unit variance at points `BLOTCH` px apart, `[3, *size]`.

    White noise would stay: the content term holds a scale to its start, and no patch is like it.
    """
    height, width = (-(-side // BLOTCH) for side in size)
    white = torch.randn(3, height, width, generator=generator, dtype=torch.float32, device=generator.device)
    return resize(white, size)


def is_fine(config: InpaintConfig, size: tuple[int, int]) -> bool:
    """Whether structure is settled at a scale of this height and width."""
    return config.fine_side is not None and min(size) > config.fine_side


def iterations_at(config: InpaintConfig, scale: int, sizes: Sequence[tuple[int, int]]) -> int:
    """How often a scale is optimised at most, by its number and the sizes of all scales."""
    iterations = at_scale(config.iterations, scale)
    return min(iterations, config.fine_iterations) if is_fine(config, sizes[scale]) else iterations


def strip_iterations(config: InpaintConfig, size: tuple[int, int]) -> int:
    """How often thin strips in a window of this height and width are sharpened at most, at its own scale."""
    sizes = scale_sizes(*size, config.scales)
    return min(iterations_at(config, len(sizes) - 1, sizes), THIN_ITERATIONS)


def at_scale(values: T | tuple[T, ...], scale: int) -> T:
    """The value for a scale of an option that may be given once or scale by scale."""
    return values[min(scale, len(values) - 1)] if isinstance(values, tuple) else values


def inpaint(
    image: ImageT,
    mask: Any,
    *,
    source_mask: Any = None,
    exemplars: Sequence[ImageLike] = (),
    config: InpaintConfig | None = None,
    device: str | torch.device = "auto",
    **options: Any,
) -> ImageT:
    """Fill the hole of one image; `options` are those of `InpaintConfig`, on top of `config`.

    See `Inpainter.__call__` for the images, the masks, the result and the errors.
    """
    base = dict(config) if config else {}  # `model_dump` would also take a callable apart that is a dataclass
    painter = Inpainter(InpaintConfig(**(base | options)), device)
    return painter(image, mask, source_mask=source_mask, exemplars=exemplars)
