"""Masks that are pictures: which of their pixels are painted, whatever the colour, the range and the transparency."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from neuralpatch_cuda.errors import MaskError
from neuralpatch_cuda.imaging.images import COLOUR_MODES, LUMA, NATIVE_MODES, Array, upright
from neuralpatch_cuda.imaging.levels import is_unclear, sample

RANGES = (1, 255, 65535)
"""Where the values of pictures end: of floating point numbers, of 8 bits and of 16."""

FEW_COLOURS = 8
"""Paint has no more; photographs have."""


def painted(picture: Image.Image | Array, name: str = "mask") -> Array:
    """Where a picture of a mask is painted; see `masks.to_hole` for the rule.

    Args:
        picture: PIL image; or array `[H, W, C]`, uint16, gray (1 channel), gray and alpha (2), RGB (3) or RGB and
            alpha (4).
        name: what errors and warnings call it.

    Returns:
        `[H, W]`, bool.

    Raises:
        MaskError: another PIL mode, NaN, transparent all over, or several values of which none reaches half.

    Warns:
        UserWarning: more is dark, but not black, than the edges of what is painted; it is a photograph; or there is
            black paint beside bright paint on transparency, which is left out.
    """
    colours, alpha = _channels(picture, name)
    if not colours.size:
        return np.zeros(colours.shape[:2], np.bool_)
    opaque = 0 if alpha is None else int(alpha.max())
    if alpha is None or (opaque > 0 and alpha.min() >= opaque / 32 * 31):
        return _bright(*_brightness(colours), name)
    if opaque == 0:
        raise MaskError(f"The {name} is empty: it is transparent all over.")
    content = _content(colours, alpha)
    if content == "photograph":
        warnings.warn(
            f"The {name} is a photograph with a transparent part, which is taken for what it marks.", stacklevel=4
        )
        return _bright(opaque - alpha, float(opaque), name)
    if content == "strokes":
        return _bright(alpha, float(opaque), name)
    if (alpha < opaque / 2).mean() > 0.5:
        warnings.warn(
            f"The {name} has black and bright paint on transparency, of which the bright is taken for what it marks.",
            stacklevel=4,
        )
    brightness, top = _brightness(colours)
    return _bright((brightness.astype(np.float32) * alpha / opaque).round().astype(colours.dtype), top, name)


def _channels(picture: Image.Image | Array, name: str) -> tuple[Array, Array | None]:
    """Colours `[H, W, C]`, and alpha `[H, W]` if there is one."""
    if isinstance(picture, Image.Image):
        picture = upright(picture)
        if picture.mode not in (*NATIVE_MODES, *COLOUR_MODES, "I"):
            raise MaskError(f"Masks of PIL mode {picture.mode} are not supported; convert it to 1 or L.")
        if picture.mode in ("L", "RGB") and "transparency" in picture.info:
            picture = picture.convert("RGBA")
        elif picture.mode in ("RGBX", *COLOUR_MODES):
            picture = picture.convert("RGB")
        picture = np.atleast_3d(np.asarray(picture))
    if picture.dtype.kind == "f" and np.isnan(picture.min(initial=0)):
        raise MaskError(f"The {name} has NaN values; replace them first.")
    if picture.shape[2] in (2, 4):
        return picture[..., :-1], picture[..., -1]
    return picture, None


def _brightness(colours: Array) -> tuple[Array, float]:
    """How bright pixels are, `[H, W]`, and the end of the range."""
    planes = [colours[..., channel] for channel in range(colours.shape[2])]
    brightness: Array = np.maximum.reduce(planes)
    if len(planes) > 1 and brightness.min() == brightness.max():  # such as red strokes on white, or on yellow
        for measure in (np.minimum.reduce, _luma):
            other = measure(planes)
            if other.min() < other.max():
                brightness = other - other.min()
                break
    # A lower range than that of the type is that of the values: 8 bits in a file of 16.
    ranges = RANGES if colours.dtype.kind == "f" else RANGES[1:]
    return brightness, float(next((top for top in ranges if brightness.max() <= top + 0.5), math.inf))


def _luma(planes: Sequence[Array]) -> Array:
    """Gray of red, green and blue; in contrast to their sum, red is not blue."""
    weights = [round(1000 * weight) for weight in LUMA]
    gray: Array = np.add.reduce([plane * np.uint32(weight) for plane, weight in zip(planes, weights, strict=True)])
    return gray // 1000


def _bright(values: Array, top: float, name: str) -> Array:
    """Where values `[H, W]` of a range that ends at `top` are high: of two values the one that is not 0."""
    low, high = values.min(), values.max()
    if ((values == low) | (values == high)).all():
        bright: Array = (values == (low if high == 0 else high)) & (values != 0)
        return bright
    if math.isinf(top):
        raise MaskError(f"The {name} has values up to {high:g}, more than a picture has; make it black and white.")
    half = top / 2 if values.dtype.kind == "f" else math.ceil(top / 2)
    marked: Array = values >= half
    if not marked.any():
        raise MaskError(
            f"The {name} is empty: of its values, from {low:g} to {high:g}, none reaches half of {top:g}; "
            "make white what it should mark."
        )
    if is_unclear(values, marked, top):
        between = np.count_nonzero((values > 0) & (values < top)) / values.size
        warnings.warn(
            f"In the {name}, {100 * between:.3g}% of the pixels lie between black and full brightness, {top:g}; those "
            f"below {half:g} are left out: make it black and white to say what it marks.",
            stacklevel=5,
        )
    return marked


def _content(colours: Array, alpha: Array) -> Literal["strokes", "mask", "photograph"]:
    """What the opaque part of a picture shows: paint on nothing, black with something bright, or anything else."""
    visible = alpha >= math.ceil(alpha.max() / 2)
    seen = colours[sample(visible)].astype(np.int32)
    unit = max(1, seen.max() // 255)
    mostly_opaque = visible.mean() > 0.5
    brightness, highest = seen.max(1), seen.max()
    bright = (brightness if mostly_opaque else seen.min(1)) >= highest / 32 * 31
    dark = brightness <= highest / 32
    # Screenshots and documents are mostly bright, and the black of a photograph is not even.
    on_black = dark.mean() > (0.5 if mostly_opaque else 0) and _share_alike(brightness[dark], unit) > 0.9
    plain = (dark | bright).mean() > (0.9 if mostly_opaque else 0.75)
    if highest > 16 * unit and on_black and plain and bright.any():
        return "mask"
    if _share_alike(seen, unit) > (0.999 if mostly_opaque else 0.9):
        return "strokes"
    _, counts = np.unique(seen // (8 * unit), axis=0, return_counts=True)
    few = np.sort(counts)[::-1][:FEW_COLOURS].sum() > 0.9 * len(seen)
    return "strokes" if few and not mostly_opaque else "photograph"


def _share_alike(seen: Array, unit: int) -> float:
    """The share of values or colours that are the median one; programs that multiply colours by alpha round them."""
    near = abs(seen - np.median(seen, axis=0)) <= 2 * unit
    return float((near if near.ndim == 1 else near.all(1)).mean())
