"""A residual block with a spectral transform, as in LaMa's fast Fourier convolution (Chi et al., NeurIPS 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FourierBlock(nn.Module):
    """`x + local(elu(x)) + global(elu(x))`: a 3 x 3 convolution, and a 1 x 1 convolution of the map's spectrum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.local1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.local2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.reduce = nn.Conv2d(channels, half, 1)
        self.spectral = nn.Conv2d(2 * half, 2 * half, 1)
        self.expand = nn.Conv2d(half, channels, 1)
        for last in (self.local2, self.expand):
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        active = F.elu(x)
        reduced = F.elu(self.reduce(active))
        spectrum = torch.fft.rfft2(reduced.float(), norm="ortho")
        parts = F.elu(self.spectral(torch.cat([spectrum.real, spectrum.imag], 1))).float()
        real, imaginary = parts.chunk(2, 1)
        everywhere = torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[-2:], norm="ortho")
        out: Tensor = x + self.local2(F.elu(self.local1(active))) + self.expand(reduced + everywhere.to(reduced.dtype))
        return out
