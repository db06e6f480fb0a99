"""Self-attention over the cells of a map, with rotary embedding (Su et al., "RoFormer", 2021) in two dimensions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """`x + out(attention(norm(x)))` over all cells of a map; a new one is the identity, as with `ResidualBlock`.

    Cells know their distance from each other by rotary embedding (Su et al., "RoFormer", 2021): the first half of a
    head's channels turns with the row, the second with the column. So the map may have any size.
    """

    HEAD = 40
    """Channels of a head, at least; a multiple of 4."""
    LONGEST = 32.0
    """The slowest rotation turns by one radian over almost so many cells."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // self.HEAD)
        self.norm = nn.GroupNorm(1, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        parts = self.qkv(self.norm(x)).view(batch, 3, self.heads, channels // self.heads, height * width)
        query, key, value = parts.transpose(-1, -2).unbind(1)
        cosine, sine = self._rotations(height, width, channels // self.heads, x.device)
        found = F.scaled_dot_product_attention(rotate(query, cosine, sine), rotate(key, cosine, sine), value)
        out: Tensor = x + self.out(found.transpose(-1, -2).reshape(batch, channels, height, width))
        return out

    def _rotations(self, height: int, width: int, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the angles of every pair of channels, `[H * W, channels / 2]`."""
        pairs = channels // 4
        speed = self.LONGEST ** (-torch.arange(pairs, device=device) / pairs)
        rows = torch.arange(height, device=device)[:, None, None] * speed
        columns = torch.arange(width, device=device)[None, :, None] * speed
        angle = torch.cat([rows.expand(-1, width, -1), columns.expand(height, -1, -1)], -1).flatten(0, 1)
        return angle.cos(), angle.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn pairs of channels, one of the first half and one of the second: `[..., N, C]` and `[N, C / 2]`, twice."""
    a, b = x.chunk(2, -1)
    cosine, sine = cosine.to(x.dtype), sine.to(x.dtype)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], -1)
