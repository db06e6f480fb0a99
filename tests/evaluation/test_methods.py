"""Every method fills a hole, takes its options, and says in one sentence what it cannot do."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from neuralpatch_cuda.errors import ConfigError, MaskError, NetworkError, NeuralPatchError
from neuralpatch_cuda.evaluation import released_2017
from neuralpatch_cuda.evaluation.methods import METHODS, Method, known_mean, write_random_features
from neuralpatch_cuda.networks.weights import load_texture_network

QUICK = dict.fromkeys(("neuralpatch", "texture", "random-features"), "iterations=2") | {"lama": "model=lama.pt"}


class Lama(nn.Module):
    """With the convention of LaMa's exports: grey where there is nothing."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return image * (1 - mask) + mask / 2


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder, with a TorchScript file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        released_2017.inpaint, "__kwdefaults__", released_2017.inpaint.__kwdefaults__ | {"iterations": 2}
    )
    torch.jit.script(Lama()).save("lama.pt")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_fills_the_hole_from_what_is_around_it(name: str, pixels: np.ndarray, hole: np.ndarray) -> None:
    fill = Method.parse(f"{name} {QUICK.get(name, '')}").load("cpu")
    black, white = (np.where(hole[..., None], np.uint8(value), pixels) for value in (0, 255))
    filled = fill(black, hole)
    assert filled.dtype == np.uint8 and filled.shape == pixels.shape
    assert (filled[~hole] == pixels[~hole]).all()
    inside, known = filled[hole].astype(float), pixels[~hole].astype(float)
    assert known.min() - 30 < inside.mean() < known.max() + 30
    assert (inside.max(1) > 0).mean() > 0.95  # no black is left
    if name != "biharmonic":  # which differs by rounding
        assert (fill(white, hole) == filled).all()  # what lies under the hole does not matter


def test_lama_is_given_the_window_as_it_is(pixels: np.ndarray, hole: np.ndarray) -> None:
    filled = Method.parse("lama model=lama.pt").load("cpu")(pixels, hole)
    assert (filled[hole] == 128).all()


def test_options_reach_the_library(pixels: np.ndarray, hole: np.ndarray) -> None:
    fills = [Method.parse(f"telea radius={radius}").load("cpu")(pixels, hole) for radius in (1, 20)]
    assert (fills[0] != fills[1]).any()
    fills = [Method.parse(f"inpaint radius={radius}").load("cpu")(pixels, hole) for radius in (1, 20)]
    assert (fills[0] != fills[1]).any()
    fills = [Method.parse(f"patchmatch-cython patch_size={size}").load("cpu")(pixels, hole) for size in (3, 9)]
    assert (fills[0] != fills[1]).any()
    fills = [Method.parse(f"neuralpatch iterations={n} scales=1").load("cpu")(pixels, hole) for n in (0, 3)]
    assert (fills[0] != fills[1]).any()


def test_the_mean_of_what_is_known() -> None:
    image, mask = torch.rand(1, 3, 4, 6), torch.zeros(1, 1, 4, 6)
    mask[..., 2:] = 1
    expected = image[..., :2].mean((2, 3))
    torch.testing.assert_close(known_mean(image, mask)[..., 3, 5], expected)


@pytest.mark.parametrize(
    ("text", "name", "options", "label"),
    [
        ("telea", "telea", {}, "telea"),
        (
            "neuralpatch alpha=2 layers=relu3_1,relu4_1",
            "neuralpatch",
            None,
            "neuralpatch alpha=2 layers=relu3_1,relu4_1",
        ),
        ("sharper: neuralpatch alpha=4", "neuralpatch", {"alpha": "4"}, "sharper"),
        ("ours: best: package.module:fill", "package.module:fill", {}, "ours: best"),
        ("package.module:fill", "package.module:fill", {}, "package.module:fill"),
    ],
)
def test_parsing(text: str, name: str, options: dict[str, str] | None, label: str) -> None:
    method = Method.parse(text)
    assert (method.name, method.label) == (name, label)
    assert options is None or method.options == options


@pytest.mark.parametrize("text", ["", " ", ": telea", "paint", "telea radius", "telea radius=1 radius=2"])
def test_what_is_no_method(text: str) -> None:
    with pytest.raises(ConfigError, match=r"\.$"):
        Method.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "telea size=3",
        "telea radius=wide",
        "inpaint radius=2.5",
        "inpaint patch_size=3",
        "patchmatch-cython patch_size=",
        "lama",
        "lama model=nowhere.pt",
        "neuralpatch alpha=-1",
        "neuralpatch strength=3",
        "no.such.module:fill",
    ],
)
def test_what_cannot_be_loaded(text: str) -> None:
    with pytest.raises((NeuralPatchError, FileNotFoundError), match=r"\.$"):
        Method.parse(text).load("cpu")


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    packages = {"telea": "cv2", "inpaint": "inpaint", "patchmatch-cython": "patchmatch_cython"}
    for name, package in packages.items():
        with pytest.raises(ConfigError, match=rf"needs {package}: pip install neuralpatch_cuda\[evaluate\]\.$"):
            Method.parse(name).load("cpu")


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "own_method.py").write_text("def fill(image, hole):\n    return image + hole[..., None].astype('u1')\n")
    fill = Method.parse("own_method:fill").load("cpu")
    assert (fill(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.bool_)) == 1).all()
    with pytest.raises(NetworkError, match="The method own_method:nothing cannot be imported"):
        Method.parse("own_method:nothing").load("cpu")


def test_the_release_fills_centred_holes_alone(pixels: np.ndarray, hole: np.ndarray) -> None:
    fill = Method.parse("released").load("cpu")
    with pytest.raises(MaskError, match="29/128"):
        fill(pixels, np.roll(hole, 40, 0))


def test_random_features_have_the_shape_of_the_trained_ones(tmp_path: Path) -> None:
    layers = ["relu3_1", "relu4_1"]
    for name in ("first", "second"):
        write_random_features(tmp_path / name)
    network, again = (load_texture_network(tmp_path / name, layers) for name in ("first", "second"))
    trained = load_texture_network("vgg16", layers)
    values, trained_values = network.state_dict(), trained.state_dict()
    assert all(torch.equal(values[name], value) for name, value in again.state_dict().items())
    assert {n: t.shape for n, t in values.items()} == {n: t.shape for n, t in trained_values.items()}
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for feature, expected in zip(network(image).values(), trained(image).values(), strict=True):
            assert 0.01 < feature.std() / expected.std() < 100  # neither dying nor exploding
