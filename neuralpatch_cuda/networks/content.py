"""The content network: predicts the coarse layout of a hole at a short side of 128 px.

A fully convolutional, mask-aware encoder-decoder. It plays the role of the context encoder in the paper
(section 3.3), but takes any mask and any aspect ratio. An L2-trained network can only predict what is blurred anyway,
so nearly all of its capacity sits at 1/8 of the resolution, in a trunk of dilated residual blocks that sees past any
hole; the decoder merely brings that layout back to full size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONTENT_SIDE = 128
"""Short side in pixels at which the library's networks are trained and used."""


@dataclass(frozen=True)
class ContentConfig:
    """Architecture of a `ContentNetwork`; stored in the header of its weights file."""

    width: int = 128
    """Channels of the trunk at 1/8 resolution; shallower stages have 1/2 and 1/4 of them."""
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4, 1, 2, 4)
    """Dilation of the first convolution of each residual block of the trunk."""
    detail: tuple[int, ...] = (1, 2, 1)
    """The same for the residual blocks of the decoder, at 1/4 resolution."""
    noise: float = 0.0
    """Standard deviation of the noise put in the hole's place, in units of half the range of colours.

    What a discriminator asks for is made of it. Without any, there is nothing in a hole but what reaches it from its
    edges, and texture becomes a plaid of lines along rows and columns.
    """


conv3x3 = partial(nn.Conv2d, kernel_size=3, dtype=torch.float32)
"""The convolutions are float32, whatever the default of PyTorch is."""


class ResidualBlock(nn.Module):
    """`x + conv(elu(conv_dilated(elu(x))))`; the last convolution starts at zero, so a new block is the identity."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels, padding=dilation, dilation=dilation)
        self.conv2 = conv3x3(channels, channels, padding=1)
        nn.init.zeros_(self.conv2.weight)
        assert self.conv2.bias is not None
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(F.elu(self.conv1(F.elu(x))))
        return out


def enlarge(x: Tensor) -> Tensor:
    """Pixel shuffle to twice the side and a box filter of 2 px: `[B, 4 C, H, W]` to `[B, C, 2 H, 2 W]`.

    Without the filter the four kernels behind a cell's pixels draw a grid as soon as a discriminator asks for detail;
    what is the same in every cell comes out even (Sugawara et al., "Super-resolution using convolutional neural
    networks without any checkerboard artifacts", 2018).
    """
    return F.avg_pool2d(F.pad(F.pixel_shuffle(x, 2), (1, 0, 1, 0), mode="replicate"), 2, stride=1)


class ContentNetwork(nn.Module):
    """Predicts the pixels of a hole from the pixels around it.

    Resolutions are relative to the input: unshuffle to 1/4, trunk at 1/8, skip connection at 1/4, sub-pixel
    convolutions back to 1/1.
    """

    side = CONTENT_SIDE

    def __init__(self, config: ContentConfig | None = None) -> None:
        super().__init__()
        self.config = config or ContentConfig()
        width = self.config.width
        self.stem = conv3x3(4 * 16, width // 2, padding=1)
        self.down = conv3x3(width // 2, width, stride=2, padding=1)
        self.trunk = nn.Sequential(*(ResidualBlock(width, dilation) for dilation in self.config.dilations))
        self.up4 = conv3x3(width, 2 * width, padding=1)
        self.fuse4 = conv3x3(width, width // 2, padding=1)
        self.detail = nn.Sequential(*(ResidualBlock(width // 2, dilation) for dilation in self.config.detail))
        self.up2 = conv3x3(width // 2, width, padding=1)
        self.head = conv3x3(width // 4, 3 * 4, padding=1)

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
        x = torch.cat([torch.where(mask > 0, self._noise(image), 2 * image - 1), mask], 1)
        pad = (0, -width % 8, 0, -height % 8)
        x = F.pad(x, pad, mode="replicate") if any(pad) else x
        shallow = F.elu(self.stem(F.pixel_unshuffle(x, 4)))
        deep = F.elu(self.trunk(self.down(shallow)))
        joined = torch.cat([enlarge(F.elu(self.up4(deep))), shallow], 1)
        half = enlarge(F.elu(self.up2(F.elu(self.detail(self.fuse4(joined))))))
        out = enlarge(self.head(half))[..., :height, :width]
        return torch.where(mask > 0, (out + 1) / 2, image)

    def _noise(self, image: Tensor) -> Tensor:
        """What takes the hole's place: drawn anew in training, else always the same."""
        if self.config.noise == 0:
            return torch.zeros_like(image)
        generator = None if self.training else torch.Generator("cpu").manual_seed(0)
        noise = torch.randn(image.shape, generator=generator, dtype=torch.float32, device="cpu")
        return (self.config.noise * noise).to(image)
