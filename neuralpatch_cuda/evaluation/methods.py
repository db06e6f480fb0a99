"""Ways of filling a hole, each by its name: this library's, parts of it, and what one might use instead."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError
from neuralpatch_cuda.evaluation import released_2017
from neuralpatch_cuda.inpainter import Inpainter
from neuralpatch_cuda.networks.foreign import import_callable
from neuralpatch_cuda.networks.weights import EMBEDDED_VGG16

Pixels: TypeAlias = NDArray[np.uint8]
"""RGB, `[H, W, 3]`."""
Hole: TypeAlias = NDArray[np.bool_]
"""`[H, W]`, True = fill."""
Fill: TypeAlias = Callable[[Pixels, Hole], Pixels]
"""A photograph, black inside its hole, and the hole to the filled photograph."""

CONTENT_ALONE: dict[str, Any] = {"scales": 1, "iterations": 0}
"""Of `InpaintConfig`: the content network's prediction, enlarged."""


@dataclass(frozen=True)
class Method:
    """A way of filling, and its options."""

    name: str
    """One of `METHODS`, or an import string, `package.module:function`, of a `Fill`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    """What it is called in tables and the names of folders; by default its name and options."""

    def __post_init__(self) -> None:
        if not self.label:
            options = [f"{name}={value}" for name, value in self.options.items()]
            object.__setattr__(self, "label", " ".join([self.name, *options]))

    @classmethod
    def parse(cls, text: str) -> Method:
        """ "NAME", "NAME option=value ..." or "LABEL: NAME option=value ...".

        Raises:
            ConfigError: it is not of this form, or there is no such method.
        """
        label, separator, rest = text.rpartition(": ")
        words = rest.split()
        if not words or (separator and not label.strip()):
            raise ConfigError(f"A method is given as NAME, with option=value after it if need be, not {text!r}.")
        name, *pairs = words
        if name not in METHODS and ":" not in name:
            raise ConfigError(f"There is no method {name!r}; give module:function, or one of {', '.join(METHODS)}.")
        options = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        if len(options) < len(pairs):
            raise ConfigError(f"The options of the method {name} are given as option=value, each once, not {text!r}.")
        return cls(name, options, label.strip())

    def load(self, device: str | torch.device) -> Fill:
        """Load what it needs.

        Raises:
            ConfigError: it has no such option, or needs a package that is not installed.
            Others as `Inpainter`, where it is one.
        """
        make = METHODS.get(self.name)
        if make is None:
            return import_callable(self.name, "method")
        try:
            inspect.signature(make).bind(device, **self.options)
        except TypeError as error:
            raise ConfigError(f"The method {self.name} cannot have these options: {error}.") from None
        try:
            return make(device, **self.options)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"The method {self.name} needs {error.name}: pip install neuralpatch_cuda[evaluate]."
            ) from error


def _neuralpatch(device: str | torch.device, **options: Any) -> Fill:
    return Inpainter(InpaintConfig(**options), device)


def _content(device: str | torch.device, **options: Any) -> Fill:
    return _neuralpatch(device, **(CONTENT_ALONE | options))


def _texture(device: str | torch.device, **options: Any) -> Fill:
    """Nothing is known of the hole's content, and nothing held on to."""
    return _neuralpatch(device, **({"content_network": known_mean, "content_weight": 0} | options))


def _random_features(device: str | torch.device, **options: Any) -> Fill:
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "random.safetensors"
        write_random_features(weights)
        return _neuralpatch(device, texture_network=str(weights), **options)


def _lama(device: str | torch.device, *, model: str) -> Fill:
    """A TorchScript file with the convention of `big-lama.pt`, given windows as they are."""
    return _content(device, content_network=Path(model), content_side=2**31)


def _opencv(algorithm: str) -> Callable[..., Fill]:
    def load(device: str | torch.device, *, radius: str = "5") -> Fill:
        cv2, pixels = importlib.import_module("cv2"), _whole(radius)
        flag = getattr(cv2, algorithm)
        return lambda image, hole: cv2.inpaint(image, hole.astype(np.uint8), pixels, flag)

    return load


def _biharmonic(device: str | torch.device) -> Fill:
    inpaint_biharmonic = importlib.import_module("skimage.restoration").inpaint_biharmonic

    def fill(image: Pixels, hole: Hole) -> Pixels:
        return _bytes(inpaint_biharmonic(image, hole, channel_axis=-1))

    return fill


def _patchmatch(device: str | torch.device, *, patch_size: str = "5") -> Fill:
    patchmatch, size = importlib.import_module("patchmatch"), _whole(patch_size)

    def fill(image: Pixels, hole: Hole) -> Pixels:
        patchmatch.set_random_seed(0)
        filled: Pixels = patchmatch.inpaint(image, hole.astype(np.uint8)[..., None], patch_size=size)
        return filled

    return fill


def _patchmatch_cython(device: str | torch.device, *, patch_size: str = "5") -> Fill:
    inpaint_pyramid = importlib.import_module("patchmatch_cython").inpaint_pyramid
    size = _whole(patch_size)

    def fill(image: Pixels, hole: Hole) -> Pixels:
        filled: Pixels = inpaint_pyramid(image, hole, patch_size=size, seed=0)
        return filled

    return fill


def _inpaint(device: str | torch.device, *, radius: str = "5") -> Fill:
    telea, pixels = importlib.import_module("inpaint").telea, _whole(radius)

    def fill(image: Pixels, hole: Hole) -> Pixels:
        return _bytes(telea(image.astype(np.float32) / 255, hole.astype(np.float32), pixels))

    return fill


def _released(device: str | torch.device, *, content_network: str = "default") -> Fill:
    """The port of the authors' release, with this library's networks, since theirs cannot be had."""
    content = _content(device, content_network=content_network)
    network = released_2017.Vgg.embedded().to(device)

    def fill(image: Pixels, hole: Hole) -> Pixels:
        photograph, guess = (
            torch.from_numpy(pixels).to(device, torch.float32).permute(2, 0, 1) / 255
            for pixels in (image, content(image, hole))
        )
        weight = torch.from_numpy(~hole).to(photograph)
        filled = released_2017.inpaint(photograph, guess, weight, network, recompute=False)
        return _bytes(filled.permute(1, 2, 0).numpy(force=True))

    return fill


METHODS: dict[str, Callable[..., Fill]] = {
    "neuralpatch": _neuralpatch,
    "content": _content,
    "texture": _texture,
    "random-features": _random_features,
    "telea": _opencv("INPAINT_TELEA"),
    "navier-stokes": _opencv("INPAINT_NS"),
    "biharmonic": _biharmonic,
    "patchmatch": _patchmatch,
    "patchmatch-cython": _patchmatch_cython,
    "inpaint": _inpaint,
    "lama": _lama,
    "released": _released,
}
"""This library; its content network alone; without a content network or term; with a texture network that has learnt
nothing; OpenCV's two; scikit-image's; PyPatchMatch; patchmatch-cython's; Telea's method by the package inpaint; a LaMa
TorchScript file (`model=FILE`); a port of what the paper's authors released."""


def known_mean(image: Tensor, mask: Tensor) -> Tensor:
    """A content network that knows nothing: each hole in the mean colour of the known pixels."""
    known = 1 - mask
    mean = (image * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True)
    return torch.where(mask > 0, mean, image)


def write_random_features(path: Path) -> None:
    """Write a texture network of the embedded one's shape, its weights drawn at random (He et al., 2015), always the
    same."""
    generator = torch.Generator("cpu").manual_seed(0)
    with safe_open(EMBEDDED_VGG16, "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
        header = file.metadata()
    kind: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    tensors = {
        name: torch.randn(shape, generator=generator, **kind) * math.sqrt(2 / math.prod(shape[1:]))
        if len(shape) == 4
        else torch.zeros(shape, **kind)
        for name, shape in shapes.items()
    }
    save_file(tensors, path, header)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"A radius or size in pixels must be a whole number, not {text!r}.") from None


def _bytes(image: NDArray[np.floating[Any]]) -> Pixels:
    filled: Pixels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return filled
