"""Other ways of averaging matched patches, with the arguments and results of `ops.vote_patches`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def index_add(
    key: Tensor, position: Tensor, index: Tensor, size: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Adds the matched pixels to their places in float32, one pixel of all patches at a time, and divides."""
    channels, key_width = key.shape[0], key.shape[2]
    pixels = key.permute(1, 2, 0).reshape(-1, channels)
    places = _pixel(position, width, size)
    sources = _pixel(index, key_width, size)
    total = torch.zeros(height * width, channels, device=key.device)
    count = torch.zeros(height * width, device=key.device)
    for row in range(size):
        for column in range(size):
            place = places + row * width + column
            total.index_add_(0, place, pixels[sources + row * key_width + column].float())
            count.index_add_(0, place, count.new_ones(()).expand(place.shape))
    target = (total / count.clamp_min(1)[:, None]).to(key.dtype)
    return target.view(height, width, channels).permute(2, 0, 1), count.view(height, width)


def embedding_bag(
    key: Tensor, position: Tensor, index: Tensor, size: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Gathers the key pixels that land on each target pixel, and weights them: `F.embedding_bag`."""
    channels, key_width = key.shape[0], key.shape[2]
    pixels = key.permute(1, 2, 0).reshape(-1, channels)
    source = index.new_full(((height - size + 1) * (width - size + 1),), -1)
    source[position] = _pixel(index, key_width, size)
    rim = (size - 1, size - 1, size - 1, size - 1)
    source = F.pad(source.view(height - size + 1, width - size + 1), rim, value=-1)
    around = source.unfold(0, size, 1).unfold(1, size, 1).flatten(2)  # [height, width, size * size] patches
    step = torch.arange(size - 1, -1, -1, device=key.device)
    offset = (step[:, None] * key_width + step).flatten()  # which of the patch's pixels lands here
    there = around >= 0
    count = there.sum(2)
    weight = (there / count.clamp_min(1)[..., None]).to(key.dtype)
    pixel = torch.where(there, around + offset, 0)
    target = F.embedding_bag(pixel.flatten(0, 1), pixels, mode="sum", per_sample_weights=weight.flatten(0, 1))
    return target.view(height, width, channels).permute(2, 0, 1), count.float()


def _pixel(position: Tensor, width: int, size: int) -> Tensor:
    """The pixel at a patch position: its number in a map of the given width."""
    columns = width - size + 1
    return torch.div(position, columns, rounding_mode="floor") * width + position % columns
