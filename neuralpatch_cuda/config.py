"""The options of inpainting: one validated model, shared by the Python API and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from neuralpatch_cuda.errors import ConfigError


def _split(value: object) -> object:
    """The parts of "1, 2, 3", as a command line or a manifest spells a tuple; anything else as it is."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _split_many(value: object) -> object:
    """As `_split`, but a single part is a value of its own."""
    parts = _split(value)
    return parts[0] if isinstance(parts, tuple) and len(parts) == 1 else parts


Weight = Annotated[float, Field(ge=0)]
Iterations = Annotated[int, Field(ge=0)]
Layer = Annotated[str, Field(pattern=r"^relu([12]_[12]|3_[1-4]|4_1)$")]
Name = Annotated[str, Field(min_length=1)]
Network = str | Path | Callable[..., Any]

NUMBER = "a number of at least 0"
COUNT = "a whole number of at least 0"
NETWORK = "a network's name or the path of its weights"


def option(default: Any, allowed: str, description: str, **limits: Any) -> Any:
    """A field; `allowed` completes "must be ..." in error messages."""
    return Field(default, description=description, json_schema_extra={"allowed": allowed}, **limits)


class Options(BaseModel):
    """A model of options. An instance cannot be changed, and a wrong value is explained in one sentence.

    Raises:
        ConfigError: an option is unknown or has a value it cannot have; names it, the value and what is allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            raise config_error(error, cls) from None


class InpaintConfig(Options):
    """Options of `inpaint` and `Inpainter`.

    `InpaintConfig(**(dict(config) | changes))` makes a changed copy.

    Raises:
        ConfigError: an option is unknown or has a value it cannot have.
    """

    alpha: float = option(1.0, NUMBER, "Weight of the texture term; higher is sharper, and copies more freely.", ge=0)
    beta: float = option(0.01, NUMBER, "Weight of the total variation term; higher is smoother.", ge=0)
    content_weight: Annotated[
        Weight | Annotated[tuple[Weight, ...], Field(min_length=1)], BeforeValidator(_split_many)
    ] = option(
        5.0,
        f"{NUMBER}, or one such number per scale",
        "Weight of the content term; higher stays closer to the result of the scale below. One value, or one "
        "per scale, coarsest first; the last one is repeated.",
    )
    scales: int | None = option(
        None,
        "a whole number of at least 1, or None for all",
        "Use at most this many scales, the finest ones; by default all: short sides of 128, 256, ... px up "
        "to the window's own size.",
        ge=1,
    )
    iterations: Annotated[
        Iterations | Annotated[tuple[Iterations, ...], Field(min_length=1)], BeforeValidator(_split_many)
    ] = option(
        60,
        f"{COUNT}, or one such number per scale",
        "Iterations per scale. One value, or one per scale, coarsest first; the last one is repeated. A "
        "scale of 0 iterations is left as it starts.",
    )
    layers: Annotated[tuple[Layer, ...], BeforeValidator(_split)] = option(
        ("relu3_1", "relu4_1"),
        "names of different layers from relu1_1 to relu4_1, such as relu3_1,relu4_1",
        "Layers of the texture network whose patches are matched.",
        min_length=1,
    )
    fine_side: int | None = option(
        512,
        "a whole number of at least 1, or None for no limit",
        "Short side in pixels beyond which a scale is fine: structure is settled there, and fine_iterations and "
        "fine_layers do for it.",
        ge=1,
    )
    fine_iterations: int = option(20, COUNT, "Iterations at most on each fine scale.", ge=0)
    fine_layers: Annotated[tuple[Layer, ...], BeforeValidator(_split)] = option(
        ("relu3_1",),
        "names of different layers from relu1_1 to relu4_1, such as relu3_1,relu4_1",
        "Which of the layers are matched on fine scales; all where they have none in common.",
        min_length=1,
    )
    patch_size: int = option(3, "1, 3, 5 or 7", "Side of the patches, in cells of a layer's feature map: 1, 3, 5 or 7.")
    rematch_every: int = option(
        10, COUNT, "Iterations between two matchings; fewer is sharper and slower. 0 matches once per scale.", ge=0
    )
    search: Literal["auto", "exact", "patchmatch"] = option(
        "auto",
        "auto, exact or patchmatch",
        "How a patch finds its match. exact: compared with every known patch. patchmatch: with a few dozen of them, "
        "in time that grows with the hole alone. auto: exact where that takes little time.",
    )
    memory_budget: ByteSize | None = option(
        None,
        "a number of bytes above 0 such as 2GB, or None",
        "Memory that a scale of a window may take, such as 2GB; where its features need more, they are computed in "
        "tiles, which takes longer and gives the same picture. By default half of what is free.",
        gt=0,
    )
    tolerance: float = option(
        0.0,
        NUMBER,
        "A scale ends early when, over 10 iterations, the loss falls by less than this share of itself. 0: never.",
        ge=0,
    )
    optimizer: Literal["lbfgs", "adam"] = option("lbfgs", "lbfgs or adam", "Minimiser of the energy.")
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto",
        "auto, fp32 or bf16",
        "Arithmetic of the networks; auto is bf16 where the device is fast at it, else fp32.",
    )
    context: float = option(
        0.5,
        NUMBER,
        "Margin of known pixels around a hole that is searched, as a fraction of the longer side of the "
        "hole's bounding box.",
        ge=0,
    )
    resize_mask: bool = option(
        False, "true or false", "Bring a mask of another size to the image's (nearest pixels), instead of refusing it."
    )
    mask_dilate: int = option(0, COUNT, "Grow the mask by this many pixels.", ge=0)
    feather: int = option(0, COUNT, "Blend the result into this many pixels outside the hole.", ge=0)
    invert_mask: bool = option(False, "true or false", "Fill where the mask is black, instead of white.")
    noise: float = option(
        0.0,
        "a number from 0 to 1",
        "Standard deviation of the blotches added to the content network's prediction, for pixel values in [0, 1]; "
        "with 0.1, every seed gives another result.",
        ge=0,
        le=1,
    )
    seed: int = option(
        0,
        "a whole number from 0 to 2^63 - 1",
        "Seed of the noise and of PatchMatch; the same seed gives the same result.",
        ge=0,
        lt=2**63,
    )
    content_network: Network = option(
        "default",
        f"{NETWORK}, a TorchScript file, module:function or a callable",
        "Content network: a name, the path of its weights or of a TorchScript file, or a Python function, "
        "module:function, that takes image and mask as LaMa does.",
    )
    content_side: int | None = option(
        None,
        "a whole number of at least 1, or None for the network's own",
        "Short side in pixels at which the content network sees a window, never above the window's own; by "
        "default 128 for the library's networks and 512 for others.",
        ge=1,
    )
    texture_network: Name = option("vgg16", NETWORK, "Texture network: a name, or the path of its weights.")

    @field_validator("layers", "fine_layers")
    @classmethod
    def _different(cls, layers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(layers)) < len(layers):
            raise ValueError("a layer is named twice")
        return layers

    @field_validator("content_network")
    @classmethod
    def _named(cls, network: Network) -> Network:
        if network == "":
            raise ValueError("no name")
        return network

    @field_validator("patch_size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size not in (1, 3, 5, 7):
            raise ValueError("not an odd size up to 7")
        return size


def config_error(error: ValidationError, model: type[BaseModel]) -> ConfigError:
    """The first problem of a failed validation as one sentence: the option, its value and what is allowed."""
    problem = error.errors(include_url=False)[0]
    if not problem["loc"]:
        return ConfigError(f"The options must be a mapping of names to values, not {type(problem['input']).__name__}.")
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return ConfigError(f"There is no option {name!r}; the options are {', '.join(model.model_fields)}.")
    extra = model.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)
    value = problem["input"]
    if value and isinstance(value, tuple) and all(isinstance(part, str) for part in value):
        value = ",".join(value)  # as it was typed
    return ConfigError(f"{name} must be {extra['allowed']}, not {value!r}.")
