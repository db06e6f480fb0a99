"""Measures of a filled hole, most of them against the original photograph.

Images are `[3, H, W]`, RGB, floating point in [0, 1]; masks are bool `[H, W]`, True inside the hole.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from torch import Tensor

Floats: TypeAlias = NDArray[np.float64]

LAYOUT_CELL = 16
"""Side in pixels of the squares whose mean colours are a photograph's layout."""
STRAY_SIGMA = 4
"""Of the Gaussian that blurs a photograph before its colours are compared, in pixels: texture has colours of its own in
single pixels, but not in the mean."""

METRICS = (
    "psnr_db",
    "l1_percent",
    "l2_percent",
    "ssim",
    "sharpness",
    "layout_db",
    "seam",
    "stray_mean",
    "stray_p95",
)
"""What `measures` gives."""


def measures(filled: Tensor, original: Tensor, mask: Tensor) -> dict[str, float]:
    """All of this module's, by the names of the columns that they stand in."""
    stray = stray_colours(filled, mask)
    return {
        "psnr_db": psnr(filled, original, mask),
        "l1_percent": 100 * l1(filled, original, mask),
        "l2_percent": 100 * l2(filled, original, mask),
        "ssim": ssim(filled, original, mask),
        "sharpness": _ratio(gradient_magnitude(filled, mask), gradient_magnitude(original, mask)),
        "layout_db": layout_psnr(filled, original, mask),
        "seam": _ratio(border_step(filled, mask), border_step(original, mask)),
        "stray_mean": float(stray.mean()) if stray.size else math.nan,
        "stray_p95": float(np.percentile(stray, 95)) if stray.size else math.nan,
    }


def l1(filled: Tensor, original: Tensor, mask: Tensor) -> float:
    """Mean absolute error inside the hole, in [0, 1]."""
    return (filled.double() - original.double())[:, mask].abs().mean().item()


def l2(filled: Tensor, original: Tensor, mask: Tensor) -> float:
    """Mean squared error inside the hole, in [0, 1]: the paper's "mean L2 loss"."""
    return (filled.double() - original.double())[:, mask].square().mean().item()


def psnr(filled: Tensor, original: Tensor, mask: Tensor) -> float:
    """Peak signal-to-noise ratio inside the hole in dB: `-10 log10(mean squared error)`."""
    return _decibel(l2(filled, original, mask))


def layout_psnr(filled: Tensor, original: Tensor, mask: Tensor) -> float:
    """PSNR in dB of the mean colours of 16 x 16 px squares: how right the coarse structure is, whatever the texture.

    A square counts by the share of it that is inside the hole; only that part of it is averaged.
    """
    weight = mask.double()[None]
    share = F.avg_pool2d(weight, LAYOUT_CELL, ceil_mode=True)
    error = F.avg_pool2d((filled.double() - original.double()) * weight, LAYOUT_CELL, ceil_mode=True)
    squared = (error.square() / share.clamp(min=1e-9)).sum()  # (mean over the part)^2 x its share
    return _decibel((squared / (len(filled) * share.sum())).item())


def ssim(filled: Tensor, original: Tensor, mask: Tensor) -> float:
    """Structural similarity (Wang et al., 2004), its map averaged inside the hole; 1 is equality."""
    from torchmetrics.functional.image import structural_similarity_index_measure  # the other measures do without

    _, similarity = structural_similarity_index_measure(
        filled[None].float(), original[None].float(), data_range=1.0, return_full_image=True
    )
    return similarity[0, :, mask].mean().item()


def gradient_magnitude(image: Tensor, mask: Tensor) -> float:
    """Mean over the hole of `sqrt(dx^2 + dy^2)` of the grey image, by forward differences.

    A measure of sharpness: the ratio to the original's value is 1 where a fill is as detailed as the photograph.
    """
    grey = _grey(image)
    dx, dy = grey[:-1, 1:] - grey[:-1, :-1], grey[1:, :-1] - grey[:-1, :-1]
    return (dx.square() + dy.square()).sqrt()[mask[:-1, :-1].cpu()].mean().item()


def border_step(image: Tensor, mask: Tensor) -> float:
    """Mean absolute step in grey from a pixel inside the hole to its neighbour outside, along the whole border.

    A measure of seams: the ratio to the original's value is above 1 where the border of the hole can be seen, and
    below where the fill is smoother there than the photograph.
    """
    grey, mask = _grey(image), mask.cpu()
    across = [
        (grey.diff(dim=axis).abs(), mask.diff(dim=axis))  # the difference of two bool values: one of them is inside
        for axis in (0, 1)
    ]
    steps = torch.cat([step[border] for step, border in across])
    return steps.mean().item() if len(steps) else math.nan


def stray_colours(filled: Tensor, mask: Tensor) -> Floats:
    """Distance of each of the hole's colours from the nearest colour that the photograph has, in CIE Lab (D65).

    A measure of colours that come from nowhere, such as a pink cast on grey stone: what is made of the photograph's own
    colours has values near 0, and 2.3 is a difference that can just be seen. It needs no original.

    The filled image is blurred by a Gaussian of sigma 4 px, of which the colours inside the hole are taken. The colours
    outside are those of a blur of the known pixels alone (normalised convolution), so that the fill adds none to them;
    they are rounded to 0.0002.

    Returns:
        Euclidean distances, float64 `[pixels of the hole]`; empty where nothing is known.
    """
    from skimage.color import rgb2lab  # the other measures do without

    hole = mask.cpu().numpy()
    if hole.all():
        return np.empty(0)
    colours = rgb2lab(filled.double().cpu().numpy(), channel_axis=0)
    inside = _blurred(colours)[:, hole].T
    known = ~hole
    outside = (_blurred(colours * known)[:, known] / _blurred(known[None].astype(np.float64))[:, known]).T
    # Not balanced, which is built in half the time, and as fast as long as no point is there many times.
    tree = cKDTree(_distinct(outside), balanced_tree=False, compact_nodes=False)
    distances: Floats = tree.query(inside)[0]
    return distances


def _blurred(planes: Floats) -> Floats:
    blurred: Floats = gaussian_filter(planes, (0, STRAY_SIGMA, STRAY_SIGMA))
    return blurred


def _distinct(colours: Floats) -> Floats:
    """The different ones of Lab colours `[N, 3]`, rounded to 0.0002: each is sorted as one whole number."""
    bits, offset = np.array([42, 21, 0]), 1 << 20  # L, a and b lie within 209 of zero
    steps = np.round(colours * 5000).astype(np.int64) + offset
    numbers = np.sort((steps << bits).sum(1))
    numbers = numbers[np.append(True, numbers[1:] != numbers[:-1])]
    distinct: Floats = ((numbers[:, None] >> bits) % (2 * offset) - offset) / 5000
    return distinct


def _grey(image: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64, device="cpu")
    return torch.einsum("chw,c->hw", image.double().cpu(), weights)


def _ratio(value: float, wanted: float) -> float:
    return value / wanted if wanted else math.nan


def _decibel(squared_error: float) -> float:
    return math.inf if squared_error == 0 else -10 * math.log10(squared_error)
