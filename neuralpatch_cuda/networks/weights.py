"""Weights of the networks: where they are, how they are checked, how they are read and written.

A network's weights are given by a name of the registry below or by a path. The embedded ones come with the
package; the others are downloaded once into `$NEURALPATCH_CACHE`, by default `checkpoints` in torch's hub
folder, unless `$NEURALPATCH_OFFLINE` is set to anything but an empty string or 0.

Weights files are data, never code: safetensors, or torch checkpoints read with `weights_only=True`. TorchScript files,
which are programs, are not weights; only `foreign.py` runs them, and only as a content network that was asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from neuralpatch_cuda.errors import WeightsError
from neuralpatch_cuda.networks.content import ContentConfig, ContentNetwork
from neuralpatch_cuda.networks.context_encoder import ContextEncoder, ContextEncoderConfig
from neuralpatch_cuda.networks.texture import (
    DEPTHS,
    LAYERS,
    TORCHVISION_NORMALISATION,
    Architecture,
    Normalisation,
    TextureNetwork,
)

ConfigT = TypeVar("ConfigT", ContentConfig, ContextEncoderConfig)


class UnknownWeightsError(WeightsError, ValueError):
    """The name is not in the registry."""


@dataclass(frozen=True)
class Download:
    """A file to fetch: its address and the sha256 of its content, in hexadecimal."""

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


EMBEDDED = Path(__file__).resolve().parents[1] / "weights"
EMBEDDED_VGG16 = EMBEDDED / "vgg16_relu4_1.safetensors"

CONTENT_NETWORKS: dict[str, Path] = {
    "default": EMBEDDED / "content-l2.safetensors",
    "content-l2": EMBEDDED / "content-l2.safetensors",
    "content-adv": EMBEDDED / "content-adv.safetensors",
}
"""Names that `load_content_network` knows."""

TEXTURE_NETWORKS: dict[str, Path | Download] = {
    "vgg16": EMBEDDED_VGG16,
    "vgg16-torchvision": Download(
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    "vgg19": Download(
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    ),
}
"""Names that `load_texture_network` knows."""


def load_texture_network(name_or_path: str | Path, layers: Sequence[str], *, offline: bool = False) -> TextureNetwork:
    """Load a texture network: on the CPU, in float32, frozen and in evaluation mode.

    Args:
        name_or_path: a name in `TEXTURE_NETWORKS`, or a file: safetensors, or a torch checkpoint (`.pth`,
            `.pt`). Weights named as torchvision names them (`features.0.weight`, ...) are recognised as
            VGG-16 or VGG-19 and get torchvision's normalisation; layers beyond conv4_1 are ignored.
        layers: the features to compute, e.g. `["relu3_1", "relu4_1"]`.
        offline: never download, as with `NEURALPATCH_OFFLINE=1`.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: the network has no such layer, or the name is unknown (`UnknownWeightsError`).
        WeightsError: the file is damaged or of another network, or it is not here and cannot be downloaded.
    """
    path = _locate(name_or_path, TEXTURE_NETWORKS, offline)
    tensors, header = _read(path)
    if "features.0.weight" in tensors:
        # In VGG-16 the place of conv3_4 is taken by a pooling, which has no weights.
        architecture: Architecture = "vgg19" if "features.16.weight" in tensors else "vgg16"
        normalisation = TORCHVISION_NORMALISATION
        tensors = _from_torchvision(tensors, architecture)
    else:
        architecture, normalisation = _texture_header(header, path)
    with torch.device("meta"):  # shapes without values: no time and no random numbers spent on them
        expected = TextureNetwork(architecture, LAYERS[architecture], normalisation).state_dict()
        network = TextureNetwork(architecture, layers, normalisation)
    _check_tensors({name: tensors[name] for name in expected if name in tensors}, expected, path)
    network.to_empty(device="cpu")
    network.load_state_dict({name: tensors[name] for name in network.state_dict()})
    return network


def load_content_network(name_or_path: str | Path = "default") -> ContentNetwork | ContextEncoder:
    """Load a content network of either architecture: on the CPU, in float32, frozen and in evaluation mode.

    Args:
        name_or_path: a name in `CONTENT_NETWORKS`, or a file that `save_content_network` wrote.

    Raises:
        FileNotFoundError: the path does not exist.
        UnknownWeightsError: the name is unknown; also a `ValueError`.
        WeightsError: the file is damaged or of another network.
    """
    path = _locate(name_or_path, CONTENT_NETWORKS, offline=True)
    tensors, header = _read(path)
    network = _content_header(header, path)
    _check_tensors(tensors, network.state_dict(), path)
    network.to_empty(device="cpu")
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def save_content_network(network: ContentNetwork | ContextEncoder, path: Path) -> None:
    """Write a content network as safetensors, with its architecture in the header: float16, and counts as they are.

    The file is replaced in one step, so that a reader never sees half of it.
    """
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in network.state_dict().items()
    }
    architecture = "context-encoder" if isinstance(network, ContextEncoder) else "content"
    header = {"network": architecture, "config": json.dumps(asdict(network.config))}
    partial = path.with_suffix(".partial")
    partial.write_bytes(save(tensors, header))
    partial.replace(path)


def cache_folder() -> Path:
    """Where downloads are kept: `$NEURALPATCH_CACHE`, else `checkpoints` in torch's hub folder."""
    chosen = os.environ.get("NEURALPATCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path(torch.hub.get_dir()) / "checkpoints"


def _locate(name_or_path: str | Path, registry: Mapping[str, Path | Download], offline: bool) -> Path:
    entry = registry.get(name_or_path) if isinstance(name_or_path, str) else None
    if isinstance(entry, Download):
        return _fetch(entry, offline)
    path = entry or Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if isinstance(name_or_path, str) and entry is None and len(path.parts) == 1 and not path.suffix:
        known = ", ".join(registry)
        raise UnknownWeightsError(f"There are no weights called {name_or_path!r}; give a path or one of: {known}.")
    raise FileNotFoundError(f"There is no weights file {path}.")


def _fetch(download: Download, offline: bool) -> Path:
    """The file in the cache, downloaded if need be; its sha256 is right."""
    path = cache_folder() / download.file_name
    if path.is_file():
        if _sha256(path) != download.sha256:
            raise WeightsError(f"{path} is damaged (wrong sha256); delete it, and {download.url} is fetched again.")
        return path
    remedy = f"download {download.url} elsewhere and put it at {path}"
    if offline or os.environ.get("NEURALPATCH_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(f"{download.file_name} is not in the cache and downloads are switched off; {remedy}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Writes beside the target and renames once the sha256 is right, so a file in the cache is whole.
        torch.hub.download_url_to_file(download.url, str(path), hash_prefix=download.sha256)
    except RuntimeError as error:  # torch's sign of a wrong sha256
        raise WeightsError(f"{download.file_name} arrived damaged (wrong sha256); try again, or {remedy}.") from error
    except (OSError, HTTPException) as error:
        raise WeightsError(f"{download.file_name} could not be downloaded ({error}); {remedy}.") from error
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a weights file and its header, which is empty for a torch checkpoint."""
    checkpoint = path.suffix in (".pth", ".pt")
    try:
        if not checkpoint:
            with safe_open(path, "pt") as file:
                names = file.keys()  # the file itself cannot be iterated over
                return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # both readers raise many types for damaged files
        kind = "torch checkpoint of tensors only" if checkpoint else "safetensors file"
        raise WeightsError(f"{path} is not a readable {kind}; it is damaged or of another format.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} does not hold a state dictionary; save `network.state_dict()` instead.")
    return state, {}


def _content_header(header: Mapping[str, str], path: Path) -> ContentNetwork | ContextEncoder:
    """The network that a header describes, without values."""
    architecture = header.get("network")
    if architecture not in ("content", "context-encoder"):
        raise WeightsError(f"{path} does not hold a content network; give a file written by `neuralpatch train`.")
    try:
        config = dict(json.loads(header["config"]))
        with torch.device("meta"):
            if architecture == "content":
                return ContentNetwork(_config(ContentConfig, config))
            return ContextEncoder(_config(ContextEncoderConfig, config))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} is damaged: its header does not describe a content network.") from error


def _config(kind: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """A configuration from JSON, which must give every field and has lists for tuples."""
    if values.keys() != {field.name for field in fields(kind)}:
        raise ValueError("fields are missing or unknown")
    arguments: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return kind(**arguments)


def _texture_header(header: Mapping[str, str], path: Path) -> tuple[Architecture, Normalisation]:
    if header.get("network") != "texture":
        raise WeightsError(f"{path} does not hold a texture network; VGG-16 or VGG-19 is expected.")
    try:
        (architecture,) = (name for name in DEPTHS if name == header["architecture"])
        mean, std = (tuple(float(value) for value in json.loads(header[key])) for key in ("mean", "std"))
        (mean_r, mean_g, mean_b), (std_r, std_g, std_b) = mean, std
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged: its header does not describe a texture network.") from error
    return architecture, Normalisation((mean_r, mean_g, mean_b), (std_r, std_g, std_b))


def _from_torchvision(tensors: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """Rename `features.<i>` to `conv<block>_<j>`: i counts each convolution, ReLU and pooling as one."""
    renamed = {}
    i = 0
    for block, depth in enumerate(DEPTHS[architecture], 1):
        for j in range(1, depth + 1):
            for kind in ("weight", "bias"):
                if (tensor := tensors.get(f"features.{i}.{kind}")) is not None:
                    renamed[f"conv{block}_{j}.{kind}"] = tensor
            i += 2
        i += 1
    return renamed


def _check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    for name in [*expected, *tensors]:
        found, wanted = (list(side[name].shape) if name in side else None for side in (tensors, expected))
        if found != wanted:
            there = "missing" if found is None else found
            problem = "not part of it" if wanted is None else f"{there} instead of {wanted}"
            raise WeightsError(f"{path} is of another network: {name} is {problem}.")
