"""How well a content network fills holes of every kind in held-out photographs, in figures and in pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import mean

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from neuralpatch_cuda.evaluation.figures import contact_sheet
from neuralpatch_cuda.evaluation.metrics import gradient_magnitude, l1, psnr, ssim
from neuralpatch_cuda.inpainter import to_picture

Fill = Callable[[Tensor, Tensor], Tensor]
"""A content network: image `[B, 3, H, W]` in [0, 1] and mask `[B, 1, H, W]` to the filled image."""

Batch = tuple[Tensor, Tensor]

BATCH_SIZE = 64


@torch.no_grad()
def score(fill: Fill, holes: Dataset[Batch], device: torch.device) -> dict[str, float]:
    """Means over the images of what a content network makes of their holes.

    Returns:
        `psnr_db`, `l1_percent` (mean absolute error, of 100), `ssim` (Wang et al., 2004) and `sharpness` (mean gradient
        magnitude over that of the photographs), all inside the hole.
    """
    rows: list[dict[str, float]] = []
    for image, mask in DataLoader(holes, BATCH_SIZE):
        filled = fill(image.to(device), mask.to(device)).float().clamp(0, 1).cpu()
        for found, wanted, hole in zip(filled, image, mask[:, 0] > 0, strict=True):
            rows.append(
                {
                    "psnr_db": psnr(found, wanted, hole),
                    "l1_percent": 100 * l1(found, wanted, hole),
                    "ssim": ssim(found, wanted, hole),
                    "gradient": gradient_magnitude(found, hole),
                    "wanted_gradient": gradient_magnitude(wanted, hole),
                }
            )
    means = {name: mean(row[name] for row in rows) for name in rows[0]}
    means["sharpness"] = means.pop("gradient") / means.pop("wanted_gradient")
    return {name: round(value, 4) for name, value in means.items()}


@torch.no_grad()
def prediction_sheet(
    fills: Mapping[str, Fill], holes: Subset[Batch], device: torch.device, side: int = 192
) -> Image.Image:
    """A row for each of the holes: what is known, what each content network makes of it, and the photograph."""
    tiles: list[Image.Image] = []
    captions: list[str] = []
    for image, mask in (holes[i] for i in range(len(holes))):
        batch = image[None].to(device), mask[None].to(device)
        tiles.append(to_picture(torch.where(mask > 0, 0.5, image)))
        tiles += [to_picture(fill(*batch)[0].float().clamp(0, 1)) for fill in fills.values()]
        tiles.append(to_picture(image))
        captions += ["known", *fills, "photograph"]
    return contact_sheet(tiles, captions, len(fills) + 2, side)


def first(holes: Dataset[Batch], limit: int | None) -> Subset[Batch]:
    """The first so many of a data set, or all."""
    size: int = len(holes)  # type: ignore[arg-type]
    return Subset(holes, range(size if limit is None else min(limit, size)))
