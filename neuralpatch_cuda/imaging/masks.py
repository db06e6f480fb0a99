"""Masks of every kind to the boolean hole, and the hole to the weights of the composite."""

from __future__ import annotations

import math
import warnings
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from neuralpatch_cuda.errors import MaskError
from neuralpatch_cuda.imaging.images import COLOUR_MODES, NATIVE_MODES, Array, upright

MaskLike: TypeAlias = Image.Image | Array | Tensor
"""A PIL image, a numpy array `[H, W]` or `[H, W, 1]`, or a tensor `[H, W]` or `[1, H, W]`; see `to_hole`."""

SUSPICIOUS_SHARE = 0.5
"""A mask that covers more of the image than this is probably inverted."""


def to_hole(
    mask: MaskLike, size: tuple[int, int], invert: bool = False, dilate: int = 0, resize: bool = False
) -> Tensor:
    """Bring a mask to the set of pixels that are to be filled. The mask itself is left alone.

    White, non-zero, True = fill, from the middle of the range upwards:
        - `PIL.Image`: luma of at least 128 of 255 over a black ground, so that transparent pixels are kept;
          32768 for I;16, 0.5 for F. EXIF orientation is applied first;
        - bool: True;
        - integers: at least 128, or 32768 for uint16. Where no value is above 1, as in {0, 1}, 1 = fill;
        - floating point: at least 0.5.

    Args:
        mask: the mask, of the image's height and width.
        size: height and width of the image.
        invert: fill where the mask says keep. It comes before the dilation.
        dilate: radius in pixels of the disc by which the hole is grown.
        resize: bring a mask of another size to the image's, each pixel as the nearest one of the mask.

    Returns:
        `[H, W]`, bool, on the CPU; True = fill.

    Raises:
        TypeError: not one of these types.
        MaskError: another size than the image, another shape, values outside the range, or a mask that leaves
            nothing to fill or nothing to copy from.

    Warns:
        UserWarning: the mask covers more than half of the image.
    """
    hole = _region(mask, size, "mask", resize) ^ invert
    if not hole.any():
        raise MaskError(
            "The mask is empty: it marks nothing to fill; white means fill"
            + (", but it is inverted." if invert else ".")
        )
    if hole.all():
        raise MaskError("The mask covers the whole image: nothing is left to copy from.")
    share = hole.mean()
    if share > SUSPICIOUS_SHARE:
        warnings.warn(
            f"The mask covers {share:.0%} of the image; if white was to be kept, use invert_mask.",
            stacklevel=2,
        )
    return grow(torch.from_numpy(hole), dilate)


def grow(hole: Tensor, radius: int) -> Tensor:
    """A hole, bool `[H, W]`, grown by a disc of this radius in pixels; always a new tensor, on the CPU.

    Raises:
        MaskError: nothing is left to copy from.
    """
    grown = hole.numpy(force=True).copy()
    if radius:
        near = _near(grown, radius)
        grown[near] = _distance(grown[near]) <= radius
        if grown.all():
            raise MaskError(f"The mask, grown by {radius} px, covers the whole image: nothing is left to copy from.")
    return torch.from_numpy(grown)


def to_region(mask: MaskLike, size: tuple[int, int], resize: bool = False) -> Tensor:
    """Bring a mask to the set of pixels that patches may be taken from, by the same rules.

    Args:
        mask: the mask, of the image's height and width.
        size: height and width of the image.
        resize: as of `to_hole`.

    Returns:
        `[H, W]`, bool, on the CPU.

    Raises:
        TypeError: not one of these types.
        MaskError: another size than the image, another shape, values outside the range, or nothing marked.
    """
    region = _region(mask, size, "source mask", resize)
    if not region.any():
        raise MaskError("The source mask is empty: it marks nothing to copy from; white means copy from here.")
    return torch.from_numpy(region.copy())


def feather_weight(hole: Tensor, feather: int) -> Tensor:
    """The share of the result in the composite: 1 in the hole, falling along half a cosine to 0 outside it.

    Args:
        hole: bool `[H, W]`.
        feather: distance in pixels from the hole beyond which nothing is changed.

    Returns:
        `[H, W]`, float32 in [0, 1], on the hole's device.
    """
    weight = hole.float()
    if feather and hole.any():
        known = hole.numpy(force=True)
        near = _near(known, feather)
        distance = np.minimum(_distance(known[near]), feather + 1)
        fall = 0.5 + 0.5 * np.cos(math.pi * distance / (feather + 1))
        fall[distance > feather] = 0
        weight[near] = torch.from_numpy(fall).to(weight)
    return weight


def _near(hole: Array, reach: int) -> tuple[slice, slice]:
    """The box around the hole and all that is within `reach` pixels of it."""
    (top, bottom), (left, right) = (np.flatnonzero(hole.any(axis))[[0, -1]] for axis in (1, 0))
    return slice(max(0, top - reach), bottom + reach + 1), slice(max(0, left - reach), right + reach + 1)


def _distance(hole: Array) -> Array:
    """Distance in pixels to the hole, float64 `[H, W]`."""
    distance: Array = ndimage.distance_transform_edt(~hole)
    return distance


def _region(mask: MaskLike, size: tuple[int, int], name: str, resize: bool) -> Array:
    """Where a mask of an image of this size is white, bool `[H, W]`."""
    values = _values(mask)
    height, width = size
    if values.shape != size and resize and values.size:
        rows, columns = (
            (np.arange(wanted) + 0.5) * given // wanted for wanted, given in zip(size, values.shape, strict=True)
        )
        values = values[rows.astype(int)[:, None], columns.astype(int)]
    if values.shape != size:
        raise MaskError(
            f"The {name} is {values.shape[1]} x {values.shape[0]} px but the image is {width} x {height} px; "
            "they must be of the same size, or resize_mask be set."
        )
    return _threshold(values)


def _values(mask: MaskLike) -> Array:
    """The mask as an array `[H, W]`."""
    if isinstance(mask, Image.Image):
        mask = upright(mask)
        if mask.mode not in (*NATIVE_MODES, *COLOUR_MODES, "I"):
            raise MaskError(f"Masks of PIL mode {mask.mode} are not supported; convert it to 1 or L.")
        if mask.mode not in ("L", "I;16", "I;16B", "I", "F"):
            mask = mask.convert("RGBA")
            mask = Image.alpha_composite(Image.new("RGBA", mask.size, "black"), mask).convert("L")
        return np.asarray(mask)
    if isinstance(mask, Tensor):
        form = "[H, W] or [1, H, W]"
        shape: tuple[int, ...] = mask.shape[1:] if mask.ndim == 3 and len(mask) == 1 else mask.shape
        mask = mask.detach().cpu()
        array = (mask.float() if mask.is_floating_point() else mask).numpy()
    elif isinstance(mask, np.ndarray):
        form = "[H, W] or [H, W, 1]"
        shape = mask.shape[:2] if mask.ndim == 3 and mask.shape[2] == 1 else mask.shape
        array = mask
    else:
        raise TypeError(f"A mask must be a PIL image, a numpy array or a torch tensor, not {type(mask).__name__}.")
    if len(shape) != 2:
        raise MaskError(f"A mask must be {form}, not {list(array.shape)}; pass one channel of it.")
    return array.reshape(shape)


def _threshold(values: Array) -> Array:
    """Where the mask says fill, bool `[H, W]`."""
    if values.dtype == bool:
        return values
    if values.dtype.kind not in "uif":
        raise MaskError(f"A mask must be of bool, integer or floating point numbers, not {values.dtype}.")
    whole = values.dtype.kind != "f"
    top = (65535 if values.dtype.itemsize == 2 and values.dtype.kind == "u" else 255) if whole else 1
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # also NaN
        raise MaskError(f"A mask of {values.dtype} must have values from 0 to {top}, not from {low:g} to {high:g}.")
    if whole and high <= 1:
        return values > 0
    return values >= (top + 1) // 2 if whole else values >= 0.5
