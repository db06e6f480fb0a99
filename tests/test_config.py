from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel, ValidationError

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError

BYTES = "a number of bytes above 0 such as 2GB, or None"
CONTENT_NETWORK = "a network's name or the path of its weights, a TorchScript file, module:function or a callable"


@dataclass
class Painter:
    """A callable that pydantic would turn into a dictionary."""

    colour: float

    def __call__(self, image: object, mask: object) -> float:
        return self.colour


def test_defaults_are_valid_and_documented() -> None:
    config = InpaintConfig()
    assert InpaintConfig(**config.model_dump()) == config
    assert all(field.description and field.description.endswith(".") for field in InpaintConfig.model_fields.values())


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("alpha", "2.5", 2.5),
        ("content_weight", "5", 5.0),
        ("content_weight", "5,1, 0.5", (5.0, 1.0, 0.5)),
        ("iterations", "100", 100),
        ("iterations", "100,50", (100, 50)),
        ("layers", "relu3_1", ("relu3_1",)),
        ("layers", "relu2_1,relu3_1", ("relu2_1", "relu3_1")),
        ("patch_size", "5", 5),
        ("scales", "2", 2),
        ("content_network", "package.module:function", "package.module:function"),
        ("content_side", "256", 256),
        ("invert_mask", "true", True),
    ],
)
def test_values_may_be_strings(name: str, text: str, value: object) -> None:
    assert getattr(InpaintConfig.model_validate({name: text}), name) == value


@pytest.mark.parametrize("network", [lambda image, mask: image, torch.nn.Sequential(), Painter(1), Path("lama.pt")])
def test_a_content_network_may_be_a_callable_or_a_path(network: Any) -> None:
    config = InpaintConfig(content_network=network)
    assert config.content_network is network
    changed = InpaintConfig(**(dict(config) | {"alpha": 2}))
    assert changed.content_network is network
    assert changed.alpha == 2
    if not isinstance(network, Painter):
        assert InpaintConfig(**(config.model_dump() | {"alpha": 2})) == changed


def test_per_scale_values_may_be_lists() -> None:
    config = InpaintConfig.model_validate({"content_weight": [2, 1], "iterations": [30, 20], "layers": ["relu4_1"]})
    assert (config.content_weight, config.iterations, config.layers) == ((2, 1), (30, 20), ("relu4_1",))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"alpha": -1}, "alpha must be a number of at least 0, not -1."),
        ({"alpha": "much"}, "alpha must be a number of at least 0, not 'much'."),
        ({"beta": float("nan")}, "beta must be a number of at least 0, not nan."),
        ({"beta": float("inf")}, "beta must be a number of at least 0, not inf."),
        (
            {"content_weight": "1,-2"},
            "content_weight must be a number of at least 0, or one such number per scale, not '1,-2'.",
        ),
        (
            {"content_weight": ()},
            "content_weight must be a number of at least 0, or one such number per scale, not ().",
        ),
        (
            {"iterations": 1.5},
            "iterations must be a whole number of at least 0, or one such number per scale, not 1.5.",
        ),
        ({"scales": 0}, "scales must be a whole number of at least 1, or None for all, not 0."),
        ({"patch_size": 4}, "patch_size must be 1, 3, 5 or 7, not 4."),
        ({"optimizer": "sgd"}, "optimizer must be lbfgs or adam, not 'sgd'."),
        ({"precision": "fp16"}, "precision must be auto, fp32 or bf16, not 'fp16'."),
        ({"noise": 2}, "noise must be a number from 0 to 1, not 2."),
        ({"seed": -1}, "seed must be a whole number from 0 to 2^63 - 1, not -1."),
        ({"seed": 2**63}, f"seed must be a whole number from 0 to 2^63 - 1, not {2**63}."),
        ({"mask_dilate": -1}, "mask_dilate must be a whole number of at least 0, not -1."),
        ({"feather": 0.5}, "feather must be a whole number of at least 0, not 0.5."),
        ({"context": -0.1}, "context must be a number of at least 0, not -0.1."),
        ({"rematch_every": -1}, "rematch_every must be a whole number of at least 0, not -1."),
        ({"search": "fast"}, "search must be auto, exact or patchmatch, not 'fast'."),
        ({"memory_budget": "2 bananas"}, f"memory_budget must be {BYTES}, not '2 bananas'."),
        ({"memory_budget": 0}, f"memory_budget must be {BYTES}, not 0."),
        ({"invert_mask": "maybe"}, "invert_mask must be true or false, not 'maybe'."),
        ({"texture_network": ""}, "texture_network must be a network's name or the path of its weights, not ''."),
        ({"content_network": ""}, f"content_network must be {CONTENT_NETWORK}, not ''."),
        ({"content_network": 3}, f"content_network must be {CONTENT_NETWORK}, not 3."),
        ({"content_network": None}, f"content_network must be {CONTENT_NETWORK}, not None."),
        (
            {"content_side": 0},
            "content_side must be a whole number of at least 1, or None for the network's own, not 0.",
        ),
    ],
)
def test_a_bad_value_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        InpaintConfig(**options)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("layers", ["", (), "relu5_1", "conv3_1", "relu3_1,relu3_1", ("relu3_1", 4)])
def test_bad_layers(layers: Any) -> None:
    with pytest.raises(ConfigError, match=r"^layers must be names of different layers from relu1_1 to relu4_1"):
        InpaintConfig(layers=layers)


@pytest.mark.parametrize(("value", "number"), [("2GB", 2 * 10**9), ("1 GiB", 2**30), (500, 500), (None, None)])
def test_a_memory_budget_has_units(value: Any, number: int | None) -> None:
    assert InpaintConfig(memory_budget=value).memory_budget == number


def test_an_unknown_option_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"^There is no option 'gamma'; the options are alpha, beta, ") as caught:
        InpaintConfig(gamma=1)  # type: ignore[call-arg]
    assert all(name in str(caught.value) for name in InpaintConfig.model_fields)


def test_options_that_are_no_mapping() -> None:
    with pytest.raises(ConfigError, match="must be a mapping of names to values, not int"):
        InpaintConfig.model_validate(3)


def test_the_sentence_also_comes_through_an_outer_model() -> None:
    class Manifest(BaseModel):
        config: InpaintConfig

    with pytest.raises(ConfigError, match=r"^alpha must be"):
        Manifest.model_validate({"config": {"alpha": -1}})


def test_an_instance_cannot_be_changed() -> None:
    config: Any = InpaintConfig()
    with pytest.raises(ValidationError):
        config.alpha = 2
    assert config.alpha == 1
