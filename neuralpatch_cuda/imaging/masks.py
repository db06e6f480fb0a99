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
from neuralpatch_cuda.imaging.images import Array
from neuralpatch_cuda.imaging.levels import is_soft
from neuralpatch_cuda.imaging.painted import RANGES, painted

MaskLike: TypeAlias = Image.Image | Array | Tensor
"""A PIL image, a numpy array `[H, W]` or `[H, W, 1]`, or a tensor `[H, W]` or `[1, H, W]`; see `to_hole`."""

SUSPICIOUS_SHARE = 0.5
"""A mask that covers more of the image than this is probably inverted."""


def to_hole(
    mask: MaskLike, size: tuple[int, int], invert: bool = False, dilate: int = 0, resize: bool = False
) -> Tensor:
    """Bring a mask to the set of pixels that are to be filled. The mask itself is left alone.

    - Arrays and tensors: what is not 0, whatever the dtype, such as labels.
    - `PIL.Image`, as it is seen, EXIF orientation applied: of two values the one that is not black, or else the
      brighter; of more, what reaches half of the range (255; 65535 for 16 bits; 1 for F) in any channel.
    - `PIL.Image` with transparency: what is painted on it, in whatever colour; if that is black with something
      bright, transparent counts as black; in a photograph, the transparent part.

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
        MaskError: another size than the image, another shape, PIL mode or dtype, NaN, or a mask that leaves nothing
            to fill or nothing to copy from.

    Warns:
        UserWarning: the mask covers more than half of the image; it is soft, or a photograph, so that it is a guess
            what it marks.
    """
    hole = _region(mask, size, "mask", resize) ^ invert
    if not hole.any():
        raise MaskError(
            "The mask is empty: it marks nothing to fill; white means fill"
            f"{', but it is inverted' if invert else ''}{_found(mask)}."
        )
    if hole.all():
        raise MaskError(f"The mask covers the whole image: nothing is left to copy from{_found(mask)}.")
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
        MaskError: another size than the image, another shape, PIL mode or dtype, NaN, or nothing marked.
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
    """What a mask of an image of this size marks, bool `[H, W]`."""
    marked = painted(mask, name) if isinstance(mask, Image.Image) else _not_zero(mask, name)
    height, width = size
    if marked.shape != size and resize and marked.size:
        rows, columns = (
            (np.arange(wanted) + 0.5) * given // wanted for wanted, given in zip(size, marked.shape, strict=True)
        )
        marked = marked[rows.astype(int)[:, None], columns.astype(int)]
    if marked.shape != size:
        raise MaskError(
            f"The {name} is {marked.shape[1]} x {marked.shape[0]} px but the image is {width} x {height} px; "
            "they must be of the same size, or resize_mask be set."
        )
    return marked


def _not_zero(mask: Array | Tensor, name: str) -> Array:
    """Where an array or a tensor is not 0, bool `[H, W]`."""
    values = _values(mask)
    if values.dtype == bool or not values.size:
        return values.astype(bool, copy=False)
    if values.dtype.kind not in "uif":
        raise MaskError(f"A mask must be of bool, integer or floating point numbers, not {values.dtype}.")
    top = float(values.max())
    if math.isnan(top):
        raise MaskError(f"The {name} has NaN values; replace them by 0, or by 1 where it is to mark something.")
    if is_soft(values):
        between = np.count_nonzero((values != 0) & (values != top)) / values.size
        warnings.warn(
            f"In the {name}, {100 * between:.3g}% of the pixels lie between 0 and {top:g}, as in soft or JPEG masks, "
            f"and count as white; if that is not meant, threshold it, as in mask > {_half(top):g}.",
            stacklevel=4,
        )
    marked: Array = values != 0
    return marked


def _values(mask: Array | Tensor) -> Array:
    """The mask as an array `[H, W]`."""
    if isinstance(mask, Tensor):
        form = "[H, W] or [1, H, W]"
        shape: tuple[int, ...] = mask.shape[1:] if mask.ndim == 3 and len(mask) == 1 else mask.shape
        mask = mask.detach().cpu()
        known = not mask.is_floating_point() or mask.element_size() > 2  # to numpy, which has no bfloat16
        array = (mask if known else mask.float()).numpy()
    elif isinstance(mask, np.ndarray):
        form = "[H, W] or [H, W, 1]"
        shape = mask.shape[:2] if mask.ndim == 3 and mask.shape[2] == 1 else mask.shape
        array = np.asarray(mask)  # of a masked array, such as GDAL's, the values under its own mask, too
    else:
        raise TypeError(f"A mask must be a PIL image, a numpy array or a torch tensor, not {type(mask).__name__}.")
    if len(shape) != 2:
        raise MaskError(f"A mask must be {form}, not {list(array.shape)}; pass one channel of it.")
    return array.reshape(shape)


def _half(top: float) -> float:
    """Half of the range of which a value is the highest or nearly."""
    end = next((end for end in RANGES if 0.9 * end <= top <= end), None)
    return top / 2 if end is None else 0.5 if end == 1 else end // 2


def _found(mask: MaskLike) -> str:
    """The values of an array or a tensor that has no 0, as the end of a sentence."""
    if isinstance(mask, Image.Image):
        return ""
    values = _values(mask)
    if values.dtype == bool or not values.all():
        return ""
    return f"; its values go from {values.min():g} to {values.max():g}, and only 0 counts as black"
