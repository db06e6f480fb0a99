"""Measures of a filled hole against the original photograph. Images are `[3, H, W]` floats in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def psnr(filled: Tensor, original: Tensor, mask: Tensor) -> float:
    """Peak signal-to-noise ratio inside the hole in dB: `-10 log10(mean squared error)`; `mask` is bool `[H, W]`."""
    error = (filled.double() - original.double())[:, mask].square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


def gradient_magnitude(image: Tensor, mask: Tensor) -> float:
    """Mean over the hole of `sqrt(dx^2 + dy^2)` of the grey image, by forward differences.

    A measure of sharpness: the ratio to the original's value is 1 where a fill is as detailed as the photograph.
    """
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    grey = torch.einsum("chw,c->hw", image.double().cpu(), weights)
    dx, dy = grey[:-1, 1:] - grey[:-1, :-1], grey[1:, :-1] - grey[:-1, :-1]
    return (dx.square() + dy.square()).sqrt()[mask[:-1, :-1].cpu()].mean().item()
