"""Images of every kind to the tensor that is worked on, and back.

The way back starts from a copy of the caller's image, in its own type, and writes only the pixels that were
to be filled, so that every other pixel is bit-identical by construction.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from neuralpatch_cuda.errors import ImageError
from neuralpatch_cuda.synthesis.boxes import Box

Array: TypeAlias = npt.NDArray[Any]
ImageLike: TypeAlias = Image.Image | Array | Tensor
"""A PIL image, a numpy array `[H, W]` or `[H, W, C]`, or a torch tensor `[C, H, W]`; see `to_rgb`."""
ImageT = TypeVar("ImageT", Image.Image, Array, Tensor)
"""Any of these kinds, where what comes back is of the same."""

NATIVE_MODES = ("L", "LA", "RGB", "RGBA", "RGBX", "I;16", "I;16B", "F")
"""PIL modes whose pixels are worked on as they are."""
COLOUR_MODES = ("CMYK", "YCbCr", "HSV")
"""PIL modes that are seen as RGB; what was filled is converted back."""
INDEXED_MODES = ("1", "P", "PA")
"""PIL modes that cannot hold a new colour: the result is RGB, or RGBA where the palette has transparency."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray (ITU-R BT.601), as PIL's."""
ROUNDING = 1e-6
"""How far outside [0, 1] a float may lie and still count as a rounded 0 or 1."""


def upright(image: Image.Image) -> Image.Image:
    """The image as it is to be seen, in a mode that can be filled; its metadata are kept.

    The EXIF orientation is applied and reset; 1-bit and palette images become RGB, or RGBA where the palette
    has transparency. Never the same object as `image`.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in INDEXED_MODES:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def working_copy(image: ImageT) -> ImageT:
    """A copy that may be written to: a PIL image as `upright` gives it, an array, or a tensor without gradient.

    Raises:
        TypeError, ImageError: as `to_rgb`, but for the values, which are not looked at yet.
    """
    _check_kind(image)
    if isinstance(image, Image.Image):
        return upright(image)
    return image.detach().clone() if isinstance(image, Tensor) else np.array(image)


def size_of(image: ImageLike) -> tuple[int, int]:
    """Height and width; a PIL image's as it lies."""
    if isinstance(image, Image.Image):
        return image.height, image.width
    height, width = image.shape[-2:] if isinstance(image, Tensor) else image.shape[:2]
    return height, width


def cut(image: ImageT, box: Box) -> ImageT:
    """A part of an image; of an array or a tensor a view."""
    rows, columns = box.slices
    if isinstance(image, Image.Image):
        return image.crop((box.left, box.top, box.right, box.bottom))
    return image[:, rows, columns] if isinstance(image, Tensor) else image[rows, columns]


def paste(image: ImageT, part: ImageT, box: Box) -> None:
    """Put a part of an image in its place."""
    rows, columns = box.slices
    if isinstance(image, Image.Image):
        image.paste(part, (box.left, box.top))
    elif isinstance(image, Tensor):
        image[:, rows, columns] = part
    else:
        image[rows, columns] = part


def to_rgb(image: ImageLike, smallest_side: int = 1, missing: Tensor | None = None) -> Tensor:
    """Bring an image to the tensor that is worked on. The image itself is left alone.

    Args:
        image: gray (1 channel), gray and alpha (2), RGB (3) or RGB and alpha (4), as

            - `PIL.Image`: L, LA, RGB, RGBA, RGBX, I;16 (16-bit gray), F (gray in [0, 1]), CMYK, YCbCr, HSV; 1
              and P are converted to RGB. EXIF orientation is applied first;
            - numpy `[H, W]` or `[H, W, C]`: uint8, uint16, or float32 or float64 in [0, 1];
            - torch `[C, H, W]`: uint8, or floating point in [0, 1].
        smallest_side: least height and width in pixels: what one patch spans.
        missing: bool `[H, W]`, pixels of which the values do not matter: those of a floating point image become 0,
            whatever they are.

    Returns:
        `[3, H, W]`, float32, RGB in [0, 1], on the image's device. Alpha is left out.

    Raises:
        TypeError: not one of these types or dtypes.
        ImageError: another PIL mode or shape, values outside [0, 1], NaN or infinite values, or too small.
    """
    _check_kind(image, smallest_side)
    if isinstance(image, Image.Image):
        return to_rgb(_pixels(upright(image)), missing=missing)
    if isinstance(image, Tensor):
        planes = _unit(image.detach()[: _colours(len(image))])
        floating = image.is_floating_point()
    else:
        channels = image.shape[2] if image.ndim == 3 else 1
        planes = _unit(np.moveaxis(_with_channels(image)[..., : _colours(channels)], 2, 0))
        floating = image.dtype.kind == "f"
    if floating:
        planes = _check_range(planes, missing)
    return planes.expand(3, -1, -1).contiguous()


def composite(image: ImageT, filled: Tensor, weight: Tensor) -> ImageT:
    """Put a filled image's pixels into a copy of the original.

    Args:
        image: the original, as given to `to_rgb`.
        filled: `[3, H, W]`, floating point, RGB; clamped to [0, 1].
        weight: `[H, W]`, floating point in [0, 1], the share of `filled`; see `masks.feather_weight`.

    Returns:
        An image of the type, dtype, size, mode, device and metadata of `image` (a PIL image: as `upright`
        gives it). Where the weight is 0 it is bit-identical, and so is alpha everywhere, but that NaN or infinite
        alpha becomes 1 where it is not 0. Gray is the luma of `filled`.
    """
    touched = weight > 0
    if isinstance(image, Image.Image):
        image = upright(image)
        pixels = composite(_pixels(image), filled, weight)
        if image.mode in COLOUR_MODES:
            where = touched.numpy(force=True)
            converted = np.asarray(Image.fromarray(pixels).convert(image.mode))
            pixels = np.array(image)
            pixels[where] = converted[where]
        # Not Image.fromarray, which would take LA for something else, and RGBX for RGBA.
        result = Image.frombytes(image.mode, image.size, pixels.tobytes())
        result.info = dict(image.info)
        return result
    new, share = filled[:, touched].clamp(0, 1).float(), weight[touched].float()
    if isinstance(image, Tensor):
        out = image.detach().clone()
        new, share, touched = (part.to(out.device) for part in (new, share, touched))
        colours = _colours(len(out))
        blended = _blend(_unit(out[:colours, touched]), new, share)
        out[:colours, touched] = (blended * 255).round().byte() if out.dtype == torch.uint8 else blended.to(out.dtype)
        out[colours:, touched] = torch.nan_to_num(out[colours:, touched], 1, 1, 1)
        return out
    array = np.array(image)
    where, pixels = touched.numpy(force=True), _with_channels(array)
    colours = _colours(pixels.shape[2])
    blended = _blend(_unit(pixels[where, :colours].T), new.cpu(), share.cpu())
    if array.dtype.kind == "u":
        blended = (blended * np.iinfo(array.dtype).max).round()
    pixels[where, :colours] = blended.T.numpy()
    pixels[where, colours:] = np.nan_to_num(pixels[where, colours:], nan=1, posinf=1, neginf=1)
    return array


def _blend(old: Tensor, new: Tensor, share: Tensor) -> Tensor:
    """Mix `[C, N]` old and `[3, N]` new colours; C is 1 or 3."""
    if len(old) == 1:
        new = (new * new.new_tensor(LUMA)[:, None]).sum(0, keepdim=True)
    return torch.lerp(torch.where(share < 1, old, new), new, share)  # what is replaced may be NaN


def _unit(pixels: Array | Tensor) -> Tensor:
    """The same pixels as float32; integers are scaled to [0, 1], and float32 tensors not copied."""
    if isinstance(pixels, Tensor):
        return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
    native = torch.from_numpy(np.array(pixels, pixels.dtype.newbyteorder("=")))  # torch knows no other byte order
    unit = native.to(torch.float32, memory_format=torch.contiguous_format)
    return unit.div_(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else unit


def _check_range(planes: Tensor, missing: Tensor | None) -> Tensor:
    """A copy of a floating point image, rounding errors at 0 and 1 removed, and 0 where pixels are missing."""
    if missing is not None:
        planes = planes.masked_fill(missing.to(planes.device), 0)
    low, high = (float(value) for value in planes.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        where, advice = ("", "") if missing is None else (" outside the hole", ", or let the mask cover them")
        raise ImageError(f"The image has NaN or infinite values{where}; replace them first{advice}.")
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ImageError(
            f"A floating point image must be in [0, 1], but this one has values from {low:g} to {high:g}; "
            "rescale it, or pass uint8."
        )
    return planes.clamp(0, 1)


def _pixels(image: Image.Image) -> Array:
    """`[H, W]` or `[H, W, C]` of an upright image, in RGB if it has colours."""
    if image.mode in COLOUR_MODES:
        return np.asarray(image.convert("RGB"))
    return np.asarray(image)


def _colours(channels: int) -> int:
    """How many of 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) channels are colours."""
    return 1 if channels < 3 else 3


def _with_channels(array: Array) -> Array:
    """A view `[H, W, C]` of `[H, W]` or `[H, W, C]`."""
    return array if array.ndim == 3 else array[..., None]


def _check_kind(image: ImageLike, smallest_side: int = 1) -> None:
    """Make sure that an image is of a type, mode, dtype and size that can be worked on; see `to_rgb`."""
    if isinstance(image, Image.Image):
        supported = (*NATIVE_MODES, *COLOUR_MODES, *INDEXED_MODES)
        if image.mode not in supported:
            raise ImageError(
                f"An image of PIL mode {image.mode} cannot be filled; convert it to one of {', '.join(supported)}."
            )
    elif isinstance(image, Tensor):
        _check(image, "torch", image.ndim == 3, "[C, H, W]", image.shape[0] if image.ndim else 0)
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise TypeError(f"A torch image must be uint8 or floating point in [0, 1], not {image.dtype}.")
    elif isinstance(image, np.ndarray):
        _check(image, "numpy", image.ndim in (2, 3), "[H, W] or [H, W, C]", image.shape[2] if image.ndim == 3 else 1)
        if image.dtype.kind + str(image.dtype.itemsize) not in ("u1", "u2", "f4", "f8"):
            raise TypeError(f"A numpy image must be uint8, uint16, or float32 or float64 in [0, 1], not {image.dtype}.")
    else:
        raise TypeError(f"An image must be a PIL image, a numpy array or a torch tensor, not {type(image).__name__}.")
    height, width = size_of(image)
    if min(height, width) < smallest_side:
        raise ImageError(
            f"The image is {width} x {height} px, but a single patch spans {smallest_side} px each way; use "
            "a larger image or a smaller patch_size."
        )


def _check(image: Array | Tensor, kind: str, shaped: bool, shape: str, channels: int) -> None:
    if not shaped or channels not in (1, 2, 3, 4):
        raise ImageError(
            f"A {kind} image must be {shape} with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) "
            f"channels, not {list(image.shape)}."
        )
    if 0 in image.shape:
        raise ImageError(f"The image is empty: its shape is {list(image.shape)}.")
