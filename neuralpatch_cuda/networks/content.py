"""The content network: predicts the coarse layout of a hole at a short side of 128 px.

A fully convolutional, mask-aware encoder-decoder. It plays the role of the context encoder in the paper
(section 3.3), but takes any mask and any aspect ratio. An L2-trained network can only predict what is blurred anyway,
so nearly all of its capacity sits at 1/8 of the resolution, in a trunk of dilated residual blocks and self-attention
that sees the whole image; the decoder merely brings that layout back to full size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONTENT_SIDE = 128
"""Short side in pixels at which the library's networks are trained and used."""


@dataclass(frozen=True)
class ContentConfig:
    """Architecture of a `ContentNetwork`; stored in the header of its weights file."""

    width: int = 160
    """Channels of the trunk at 1/8 resolution; shallower stages have 1/2 and 1/4 of them."""
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4, 1)
    """Dilation of the first convolution of each residual block of the trunk."""
    attention: tuple[int, ...] = (1, 3, 5)
    """Numbers, counted from 0, of the residual blocks that self-attention follows."""


class ResidualBlock(nn.Module):
    """`x + conv(elu(conv_dilated(elu(x))))`; the last convolution starts at zero, so a new block is the identity."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        assert self.conv2.bias is not None
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(F.elu(self.conv1(F.elu(x))))
        return out


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


class ContentNetwork(nn.Module):
    """Predicts the pixels of a hole from the pixels around it.

    Resolutions are relative to the input: unshuffle to 1/4, trunk at 1/8, skip connection at 1/4, pixel shuffles
    back to 1/1.
    """

    side = CONTENT_SIDE

    def __init__(self, config: ContentConfig | None = None) -> None:
        super().__init__()
        self.config = config or ContentConfig()
        width = self.config.width
        self.stem = nn.Conv2d(4 * 16, width // 2, 3, padding=1)
        self.down = nn.Conv2d(width // 2, width, 3, stride=2, padding=1)
        trunk: list[nn.Module] = []
        for number, dilation in enumerate(self.config.dilations):
            trunk.append(ResidualBlock(width, dilation))
            if number in self.config.attention:
                trunk.append(SelfAttention(width))
        self.trunk = nn.Sequential(*trunk)
        self.up4 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.fuse4 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.up2 = nn.Conv2d(width // 2, width, 3, padding=1)
        self.head = nn.Conv2d(width // 4, 3 * 4, 3, padding=1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: `[B, 3, H, W]`, float, RGB in [0, 1]; values inside the hole are ignored.
            mask: `[B, 1, H, W]`, same dtype, 1 inside the hole and 0 outside.

        Returns:
            `[B, 3, H, W]`: the image with the hole replaced by the prediction; known pixels are passed through.
            The prediction is not clamped, so that a loss on it has a gradient everywhere.
        """
        height, width = image.shape[-2:]
        known = (2 * image - 1) * (1 - mask)
        x = torch.cat([known, mask], 1)
        pad = (0, -width % 8, 0, -height % 8)
        x = F.pad(x, pad, mode="replicate") if any(pad) else x
        shallow = F.elu(self.stem(F.pixel_unshuffle(x, 4)))
        deep = F.elu(self.trunk(self.down(shallow)))
        joined = torch.cat([F.pixel_shuffle(F.elu(self.up4(deep)), 2), shallow], 1)
        half = F.pixel_shuffle(F.elu(self.up2(F.elu(self.fuse4(joined)))), 2)
        out = F.pixel_shuffle(self.head(half), 2)[..., :height, :width]
        return torch.where(mask > 0, (out + 1) / 2, image)
