"""The same bytes whatever defaults and modes of PyTorch the host program has set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from neuralpatch_cuda import InpaintConfig, Inpainter
from neuralpatch_cuda.evaluation.methods import write_random_features
from neuralpatch_cuda.networks.content import ContentConfig, ContentNetwork
from neuralpatch_cuda.networks.context_encoder import ContextEncoder, ContextEncoderConfig
from neuralpatch_cuda.networks.discriminator import PatchDiscriminator
from neuralpatch_cuda.networks.weights import load_content_network, load_texture_network, save_content_network

PHOTO = Path(__file__).parents[1] / "examples" / "photo.jpg"

Host = Callable[[], AbstractContextManager[Any]]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


HOSTS: dict[str, Host] = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta": lambda: default_device("meta"),
    "with meta": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no gradients": lambda: torch.set_grad_enabled(False),
    "inference mode": torch.inference_mode,
    "deterministic": deterministic,
}

FAST: dict[str, Any] = {"iterations": 2, "rematch_every": 1}
CASES: dict[str, dict[str, Any]] = {
    "default": {"feather": 3, "mask_dilate": 1},
    "noise": {"noise": 0.2, "seed": 3, "content_network": "content-adv", "precision": "fp32"},
    "combined": {"content_network": "combined", "optimizer": "adam"},
    "tiles": {"content_network": "exemplar", "search": "patchmatch", "memory_budget": "1MB"},
}


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Image.open(PHOTO) as image:
        return np.asarray(image.convert("RGB").resize((64, 48)))


def fill(painter: Inpainter, photo: np.ndarray) -> bytes:
    mask, source = np.zeros((2, *photo.shape[:2]), np.bool_)
    mask[18:28, 20:34] = source[:, 32:] = True
    return painter(photo, mask, exemplars=[photo[:, ::-1].copy()], source_mask=source).tobytes()


def make(case: str) -> Inpainter:
    return Inpainter(InpaintConfig(**FAST, **CASES[case]), "cpu")


@pytest.fixture(scope="module")
def usual(photo: np.ndarray) -> dict[str, bytes]:
    """What comes out under PyTorch's own defaults."""
    return {case: fill(make(case), photo) for case in CASES}


ALL_CASES = ("float64", "meta", "autocast")


@pytest.mark.parametrize(
    ("host", "case"), [(host, case) for host in HOSTS for case in CASES if host in ALL_CASES or case != "combined"]
)
def test_an_inpainter_of_the_host(host: str, case: str, photo: np.ndarray, usual: dict[str, bytes]) -> None:
    with HOSTS[host]():
        assert fill(make(case), photo) == usual[case]


@pytest.mark.parametrize("host", ["float64", "meta", "inference mode"])
def test_defaults_that_change_after_the_inpainter_was_made(
    host: str, photo: np.ndarray, usual: dict[str, bytes]
) -> None:
    painter = make("noise")
    with HOSTS[host]():
        assert fill(painter, photo) == usual["noise"]
        other = make("combined")
    assert fill(other, photo) == usual["combined"]


def test_another_thread_sets_the_defaults(photo: np.ndarray, usual: dict[str, bytes]) -> None:
    found: list[bytes] = []

    def work() -> None:
        torch.set_default_device("meta")  # of this thread alone
        with torch.autocast("cpu", torch.bfloat16):
            found.append(fill(make("noise"), photo))

    with default_dtype(torch.float64):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == [usual["noise"]]


def test_what_the_host_set_is_left_alone(photo: np.ndarray) -> None:
    painter = make("default")
    with torch.autocast("cpu", torch.float16), torch.inference_mode(), default_dtype(torch.float64):
        fill(painter, photo)
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.float16
        assert torch.is_inference_mode_enabled()
        assert torch.get_default_dtype() == torch.float64
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16])
def test_tensors(dtype: torch.dtype, photo: np.ndarray) -> None:
    image = torch.from_numpy(photo.copy()).permute(2, 0, 1)
    image = image if dtype == torch.uint8 else (image.float() / 255).to(dtype)
    mask = torch.zeros(photo.shape[:2], dtype=torch.bool)
    mask[18:28, 20:34] = True
    painter = make("default")
    expected = painter(image, mask)
    for host in ("float64", "meta", "inference mode", "autocast"):
        with HOSTS[host]():
            filled = painter(image, mask)
        assert filled.dtype == dtype
        assert torch.equal(filled, expected)
        assert not filled.is_inference()


@pytest.mark.parametrize("kind", ["float64", "float16", "bfloat16"])
def test_networks_are_float32(kind: str, tmp_path: Path) -> None:
    small = ContentConfig(width=16, dilations=(1,), noise=0.5)
    path = tmp_path / "content.safetensors"
    torch.manual_seed(0)
    wanted = ContentNetwork(small)
    with HOSTS[kind]():
        torch.manual_seed(0)
        found = ContentNetwork(small)
        save_content_network(found, path)
        write_random_features(tmp_path / "texture.safetensors")
        encoder = ContextEncoder(ContextEncoderConfig(width=4, bottleneck=8))
        networks = [found, encoder, PatchDiscriminator(), load_content_network(path)]
        networks.append(load_texture_network(tmp_path / "texture.safetensors", ["relu2_1"]))
    for network in networks:
        values = [*network.parameters(), *network.buffers()]
        assert {value.dtype for value in values if value.is_floating_point()} == {torch.float32}
    for name, value in wanted.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)
