"""The paper's own content network: the context encoder of Pathak et al. (CVPR 2016), with a bottleneck of 4000.

An image of 128 x 128 px with its centre missing is squeezed into one vector, from which the centre's 64 x 64 px are
drawn. It has no other output: a hole of any other place or size is first brought to the centre of such a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuralpatch_cuda.networks.content import CONTENT_SIDE

FRAME = 128
"""Side in pixels of the image that the network takes; it draws the centred square of half that side."""

MEAN_COLOUR = (117 / 255, 104 / 255, 123 / 255)
"""What the hole is filled with, RGB in [0, 1], as in the authors' code."""


@dataclass(frozen=True)
class ContextEncoderConfig:
    """Architecture of a `ContextEncoder`; the defaults are the authors', 71 M parameters."""

    width: int = 64
    """Channels of the first layers."""
    bottleneck: int = 4000
    """Length of the vector between encoder and decoder."""


class ContextEncoder(nn.Module):
    """Predicts the centre of a square frame from what surrounds it."""

    side = CONTENT_SIDE

    def __init__(self, config: ContextEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or ContextEncoderConfig()
        w, code = self.config.width, self.config.bottleneck
        # Float32, whatever the default of PyTorch is.
        down = partial(nn.Conv2d, kernel_size=4, bias=False, dtype=torch.float32)
        up = partial(nn.ConvTranspose2d, kernel_size=4, bias=False, dtype=torch.float32)
        norm = partial(nn.BatchNorm2d, dtype=torch.float32)
        layers: list[nn.Module] = [down(3, w, stride=2, padding=1), nn.LeakyReLU(0.2)]  # 64 px
        for a, b in ((w, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w)):  # 32, 16, 8, 4 px
            layers += [down(a, b, stride=2, padding=1), norm(b), nn.LeakyReLU(0.2)]
        layers += [down(8 * w, code), norm(code), nn.LeakyReLU(0.2)]
        self.encoder = nn.Sequential(*layers)
        layers = [up(code, 8 * w), norm(8 * w), nn.ReLU()]  # 4 px
        for a, b in ((8 * w, 4 * w), (4 * w, 2 * w), (2 * w, w)):  # 8, 16, 32 px
            layers += [up(a, b, stride=2, padding=1), norm(b), nn.ReLU()]
        layers += [up(w, 3, stride=2, padding=1), nn.Tanh()]  # 64 px
        self.decoder = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(module.weight, 0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.02)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: `[B, 3, H, W]`, float, RGB in [0, 1]; values inside the hole are ignored.
            mask: `[B, 1, H, W]`, same dtype, 1 inside the hole and 0 outside.

        Returns:
            `[B, 3, H, W]`: the image with the hole replaced by the prediction; known pixels are passed through.
        """
        colour = torch.tensor(MEAN_COLOUR, dtype=image.dtype, device=image.device).view(1, 3, 1, 1)
        holed = torch.where(mask > 0, colour, image)
        boxes = [hole_square(m[0] > 0) for m in mask]
        frames = torch.cat([_frame(x[None], box, colour) for x, box in zip(holed, boxes, strict=True)])
        centres = (self.decoder(self.encoder(2 * frames - 1)) + 1) / 2
        drawn = torch.cat([_unframe(c[None], box, image.shape[-2:]) for c, box in zip(centres, boxes, strict=True)])
        return torch.where(mask > 0, drawn, image)


@dataclass(frozen=True)
class Square:
    """A square of pixels, which may reach beyond the image."""

    top: int
    left: int
    side: int


def hole_square(hole: Tensor) -> Square:
    """The square around a hole, bool `[H, W]`: as wide as its longer side, and centred on it; even sided."""
    rows, columns = hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten()
    if not len(rows):
        return Square(0, 0, 2)
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    side = max(bottom - top, right - left)
    side += side % 2
    return Square((top + bottom - side) // 2, (left + right - side) // 2, side)


def _frame(image: Tensor, square: Square, colour: Tensor) -> Tensor:
    """The network's input: twice the square's side, resized to `FRAME`; the mean colour beyond the image."""
    height, width = image.shape[-2:]
    margin = square.side // 2
    top, left, side = square.top - margin, square.left - margin, 2 * square.side
    pad = [max(0, -left), max(0, left + side - width), max(0, -top), max(0, top + side - height)]
    padded = F.pad(image - colour, pad) + colour if any(pad) else image
    crop = padded[..., top + pad[2] : top + pad[2] + side, left + pad[0] : left + pad[0] + side]
    return _resized(crop, FRAME)


def _unframe(centre: Tensor, square: Square, size: Sequence[int]) -> Tensor:
    """The network's output at the square's place in an image of the given height and width, elsewhere 0."""
    right, bottom = size[1] - square.left - square.side, size[0] - square.top - square.side
    return F.pad(_resized(centre, square.side), (square.left, right, square.top, bottom))  # what is negative crops


def _resized(image: Tensor, side: int) -> Tensor:
    if image.shape[-1] == side:
        return image
    return F.interpolate(image, (side, side), mode="bilinear", antialias=True)
