"""Random holes for training the content network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

BoolMask = NDArray[np.bool_]


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


def random_mask(side: int, rng: np.random.Generator) -> BoolMask:
    """A training hole: the centre square, boxes or strokes, covering at most 60 % of the image."""
    while True:
        kind = rng.random()
        if kind < 0.35:
            mask = centre_mask(side, side // 2)
        elif kind < 0.7:
            mask = box_mask(side, rng)
        else:
            mask = stroke_mask(side, rng)
        if 0 < mask.mean() <= 0.6:
            return mask
