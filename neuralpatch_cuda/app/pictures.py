"""Pictures for the browser: reduced, of 8 bits and in sRGB. What is filled is never one of these."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from neuralpatch_cuda.imaging.files import SRGB, Photograph
from neuralpatch_cuda.imaging.images import Array, to_rgb
from neuralpatch_cuda.inpainter import ScaleInfo, to_picture

SIDE = 1280
"""Longer side of a picture at most, in pixels."""

RED = (255, 32, 32)
"""Over what is to be filled, as on the canvas."""
OPACITY = 0.55


def reduced(photograph: Photograph, side: int = SIDE) -> Image.Image:
    """A photograph as it is to be seen in a browser, RGB, its longer side `side` px at most."""
    image = photograph.image
    factor = max(photograph.size) // side
    if factor > 1:  # before the conversion to floats, which are large
        simple = isinstance(image, Image.Image) and image.mode in ("L", "LA", "RGB", "RGBA")
        image = image.convert("RGB").reduce(factor) if simple else np.asarray(image)[::factor, ::factor]
    picture = to_picture(to_rgb(image))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    profile = photograph.metadata.icc_profile
    if profile:
        with suppress(ImageCms.PyCMSError, OSError):  # damaged, or not of RGB: shown as it is
            converted = ImageCms.profileToProfile(picture, BytesIO(profile), SRGB)
            picture = converted or picture
    return picture


def tinted(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """A picture with the white parts of a mask, of mode L and any size, under a red veil."""
    veil = mask.resize(picture.size, Image.Resampling.BILINEAR).point(lambda value: round(value * OPACITY))
    tinted = picture.copy()
    tinted.paste(RED, mask=veil)
    return tinted


def with_scale(picture: Image.Image, size: tuple[int, int], scale: ScaleInfo) -> Image.Image:
    """A reduced photograph, of this width and height when it was whole, with a window as a scale left it."""
    x, y = (small / whole for small, whole in zip(picture.size, size, strict=True))
    left, top = round(scale.box.left * x), round(scale.box.top * y)
    right, bottom = round(scale.box.right * x), round(scale.box.bottom * y)
    window = scale.image.resize((max(1, right - left), max(1, bottom - top)), Image.Resampling.BICUBIC)
    picture = picture.copy()
    picture.paste(window, (left, top))
    return picture


def mask_of_strokes(strokes: Array, size: tuple[int, int]) -> Image.Image:
    """The strokes on a reduced photograph as a mask of the whole one.

    Args:
        strokes: opacity of the paint, uint8 `[h, w]`.
        size: width and height of the photograph.

    Returns:
        Of mode L: 255 where the paint covers at least half, else 0.
    """
    paint = Image.fromarray(strokes).resize(size, Image.Resampling.BILINEAR)
    return paint.point(lambda opacity: 255 * (opacity >= 128))
