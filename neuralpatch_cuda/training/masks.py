"""Random holes for training and validating the content network.

`thin`, `medium` and `thick` follow the evaluation of LaMa (Suvorov et al., "Resolution-robust Large Mask Inpainting
with Fourier Convolutions", WACV 2022): the numbers of `STYLES` are its published settings, relative to the side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

BoolMask = NDArray[np.bool_]
Span = tuple[float, float]

LARGEST_SHARE = 0.6
"""No training hole covers more of the image."""


@dataclass(frozen=True)
class Style:
    """How a kind of free-form hole is drawn; lengths are relative to the image's side, ranges include both ends."""

    strokes: tuple[int, int]
    """Number of strokes, each a chain of up to five segments."""
    length: Span
    """Of a segment."""
    width: Span
    """Of a stroke."""
    boxes: tuple[int, int]
    """Number of boxes, where the hole consists of boxes."""
    box_side: Span = (0, 0)


STYLES = {
    "thin": Style(strokes=(4, 50), length=(10 / 256, 50 / 256), width=(5 / 256, 15 / 256), boxes=(0, 0)),
    "medium": Style((4, 5), (10 / 256, 110 / 256), (5 / 256, 55 / 256), (1, 5), (10 / 256, 50 / 256)),
    "thick": Style((1, 5), (10 / 256, 210 / 256), (5 / 256, 105 / 256), (1, 3), (30 / 256, 150 / 256)),
}

BOX_CHANCE = 0.3 / 1.3
"""How often a medium or thick hole consists of boxes; else of strokes."""


def centre_mask(side: int, hole: int) -> BoolMask:
    """A centred square hole, as in the paper: `[side, side]`, True = fill."""
    mask = np.zeros((side, side), np.bool_)
    start = (side - hole) // 2
    mask[start : start + hole, start : start + hole] = True
    return mask


def box_mask(side: int, rng: np.random.Generator) -> BoolMask:
    """One to three rectangles, each 1/6 to 5/8 of the side."""
    mask = np.zeros((side, side), np.bool_)
    for _ in range(rng.integers(1, 4)):
        height, width = rng.integers(side // 6, 5 * side // 8, size=2)
        top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
        mask[top : top + height, left : left + width] = True
    return mask


def stroke_mask(side: int, rng: np.random.Generator) -> BoolMask:
    """One to four thick polylines with round joints, as a hand with a brush would draw."""
    canvas = Image.new("L", (side, side))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(1, 5)):
        points = [tuple(p) for p in rng.integers(0, side, size=(rng.integers(2, 6), 2)).tolist()]
        width = int(rng.integers(side // 16, side // 4))
        draw.line(points, fill=255, width=width, joint="curve")
        for x, y in points:
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return np.asarray(canvas) > 0


def free_form_mask(side: int, rng: np.random.Generator, style: Style) -> BoolMask:
    """Chains of straight segments that turn back and forth, or boxes; some may be cut off by the border."""
    canvas = Image.new("1", (side, side))
    draw = ImageDraw.Draw(canvas)
    if style.boxes[1] and rng.random() < BOX_CHANCE:
        for _ in range(rng.integers(*style.boxes, endpoint=True)):
            width, height = side * rng.uniform(*style.box_side, size=2)
            left, top = rng.uniform(0, side - width), rng.uniform(0, side - height)
            draw.rectangle((left, top, left + width, top + height), fill=1)
        return np.asarray(canvas)
    for _ in range(rng.integers(*style.strokes, endpoint=True)):
        x, y = rng.uniform(0, side, size=2)
        width = max(1, round(side * rng.uniform(*style.width)))
        for segment in range(rng.integers(1, 6)):
            angle = rng.integers(0, 4) * (1 if segment % 2 else -1)
            step = side * rng.uniform(*style.length)
            start, (x, y) = (x, y), np.clip((x + step * np.sin(angle), y + step * np.cos(angle)), 0, side)
            draw.line((*start, x, y), fill=1, width=width)
    return np.asarray(canvas)


def _free_form(name: str) -> Callable[[int, np.random.Generator], BoolMask]:
    return lambda side, rng: free_form_mask(side, rng, STYLES[name])


MASK_KINDS: dict[str, Callable[[int, np.random.Generator], BoolMask]] = {
    "centre": lambda side, rng: centre_mask(side, side // 2),
    "boxes": box_mask,
    "strokes": stroke_mask,
    **{name: _free_form(name) for name in STYLES},
}
"""Every kind of hole: the side of the image and a generator of random numbers to a mask `[side, side]`."""

SHARES = {"centre": 0.4, "boxes": 0.25, "strokes": 0.15, "thin": 0.05, "medium": 0.05, "thick": 0.1}
"""How often each kind is drawn in training: large holes mostly, since small ones are soon learnt."""


def mask_of(kind: str, side: int, rng: np.random.Generator) -> BoolMask:
    """A hole of one of `MASK_KINDS`, neither empty nor more than `LARGEST_SHARE` of the image."""
    while True:
        mask = MASK_KINDS[kind](side, rng)
        if 0 < mask.mean() <= LARGEST_SHARE:
            return mask


def random_mask(side: int, rng: np.random.Generator) -> BoolMask:
    """A hole for training, its kind drawn by `SHARES`."""
    return mask_of(rng.choice(list(SHARES), p=list(SHARES.values())), side, rng)
