"""LPIPS and FID, by torchmetrics, where the weights of their networks are at hand; nothing is downloaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torchmetrics import Metric


@dataclass(frozen=True)
class Needs:
    """What a measure needs beside torchmetrics."""

    measure: str
    package: str
    """As it is imported."""
    url: str
    """Of the weights."""

    @property
    def weights(self) -> Path:
        """Where PyTorch keeps them once they were downloaded."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rsplit("/", 1)[-1]

    def missing(self) -> str | None:
        """A sentence that says what is not at hand; None if all is."""
        if importlib.util.find_spec(self.package) is None:
            return f"{self.measure} is left out: it needs {self.package.replace('_', '-')}, which is not installed."
        if not self.weights.is_file():
            return f"{self.measure} is left out: its network is not at hand; put {self.url} into {self.weights.parent}."
        return None


LPIPS = Needs("LPIPS", "torchvision", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth")
FID = Needs(
    "FID",
    "torch_fidelity",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
)


class Perceptual(Protocol):
    """Distance of two images `[3, H, W]` in [0, 1]."""

    def __call__(self, filled: Tensor, original: Tensor) -> float: ...


def load_lpips() -> Perceptual:
    """LPIPS (Zhang et al., 2018) by AlexNet, of whole images; lower is nearer."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network = LearnedPerceptualImagePatchSimilarity("alex", normalize=True)

    @torch.no_grad()
    def distance(filled: Tensor, original: Tensor) -> float:
        network.reset()
        return float(network(filled[None], original[None]))

    return distance


def load_fid() -> Metric:
    """The Frechet inception distance (Heusel et al., 2017) by the network of the original TensorFlow release."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    return FrechetInceptionDistance(2048, feature_extractor_weights_path=str(FID.weights))


@torch.no_grad()
def frechet_distance(metric: Metric, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """FID of the filled images against the originals, of pairs of them, uint8 `[3, H, W]`; at least two."""
    metric.reset()
    for filled, original in pairs:
        metric.update(filled[None], real=False)
        metric.update(original[None], real=True)
    return float(metric.compute())
