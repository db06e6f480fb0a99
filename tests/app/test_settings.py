"""The options of inpainting on the page: none is lost, and none is a user's that is the server's."""

from __future__ import annotations

import functools
import re
from typing import Any, get_args

import pytest

gr = pytest.importorskip("gradio")

from neuralpatch_cuda.app.settings import (  # noqa: E402
    CONTENT_NETWORKS,
    FIRST,
    INFOS,
    LABELS,
    NOT_OFFERED,
    OF_MASK_FILES,
    Settings,
)
from neuralpatch_cuda.config import InpaintConfig  # noqa: E402
from neuralpatch_cuda.errors import ConfigError  # noqa: E402
from neuralpatch_cuda.networks import weights  # noqa: E402
from neuralpatch_cuda.synthesis.content import PATCH_BASED  # noqa: E402

CHANGES: list[dict[str, Any]] = [
    {},
    {"iterations": (100, 50), "scales": 2, "content_side": None},
    {"iterations": (7,), "content_weight": (5.0, 2.5, 0.0), "fine_side": None, "content_side": 256},
    {"layers": ("relu3_1",), "fine_layers": ("relu2_2", "relu3_4"), "patch_size": 5},
    {"alpha": 0.3, "beta": 1e-6, "tolerance": 1.5e-5, "noise": 0.1, "context": 1 / 3},
    {"search": "patchmatch", "optimizer": "adam", "precision": "bf16", "content_network": "combined"},
    {"mask_dilate": 7, "feather": 3, "seed": 2**40, "rematch_every": 0, "fine_iterations": 0},
    {"memory_budget": "2GB", "texture_network": "own.safetensors"},
    {"content_network": "/models/own.safetensors"},
    {"content_network": "lama:predict"},
    {"alpha": 9.0, "mask_dilate": 80},
]
"""Options of servers."""


@functools.cache
def page_of(**options: Any) -> tuple[gr.Blocks, Settings]:
    with gr.Blocks() as blocks:
        return blocks, Settings(InpaintConfig(**options))


def settings_of(**options: Any) -> Settings:
    return page_of(**options)[1]


def shown(settings: Settings) -> list[Any]:
    """What the controls begin with, as the browser sends it back."""
    return [control.value for control in settings.inputs]


def choices(settings: Settings, name: str) -> list[Any]:
    return [value for _, value in settings.controls[name].choices]


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_of()


def test_every_option_has_its_place(settings: Settings) -> None:
    offered = list(settings.controls)
    assert sorted([*offered, *OF_MASK_FILES, *NOT_OFFERED]) == sorted(InpaintConfig.model_fields)
    assert tuple(offered[: len(FIRST)]) == FIRST
    assert {*LABELS, *INFOS} <= {*offered}
    for control in settings.inputs:
        assert control.label and control.info
    assert len({control.elem_id for control in settings.inputs}) == len(offered)


@pytest.mark.parametrize("options", CHANGES)
def test_what_is_shown_means_what_the_server_has(options: dict[str, Any]) -> None:
    settings = settings_of(**options)
    assert settings.config(shown(settings)) == InpaintConfig(**options)


@pytest.mark.parametrize("options", CHANGES)
@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_box_means_what_the_server_has(options: dict[str, Any], empty: str | None) -> None:
    settings = settings_of(**options)
    assert settings.config([empty] * len(settings.inputs)) == InpaintConfig(**options)


def test_what_is_typed_is_taken() -> None:
    settings = settings_of(beta=0.5)
    typed = {
        "iterations": " 30, 20",
        "fine_side": "300",
        "alpha": 0,
        "seed": 3,
        "layers": "relu2_1",
        "optimizer": "adam",
    }
    values = dict(zip(settings.controls, shown(settings), strict=True)) | typed
    assert settings.config(list(values.values())) == InpaintConfig(
        **(typed | {"iterations": (30, 20), "fine_side": 300, "layers": ("relu2_1",), "beta": 0.5})
    )


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_what_is_the_server_s_cannot_be_chosen(name: str) -> None:
    settings = settings_of(memory_budget="1GB")
    for value in ("1TB", "vgg16", 1, {}):
        with pytest.raises(ConfigError, match=rf"^{name} is set by the server\.$"):
            settings.checked({name: value})
    assert settings.checked({"alpha": 2}) == InpaintConfig(memory_budget="1GB", alpha=2)


@pytest.mark.parametrize("own", ["default", "/models/own.safetensors"])
@pytest.mark.parametrize(
    "network",
    ["os:system", "/etc/passwd", "../own.safetensors", "own", "DEFAULT", " default", 7, ["default"], {}, True],
)
def test_no_user_names_files_or_programs(own: str, network: Any) -> None:
    settings = settings_of(content_network=own)
    with pytest.raises(ConfigError, match=r"^content_network must be one of [^:]*\bdefault, .*exemplar, not .+\.$"):
        settings.checked({"content_network": network})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"colour": 1}, "There is no option 'colour'; the options are .+"),
        ({"alpha": -1}, "alpha must be a number of at least 0, not -1"),
        ({"seed": "x"}, "seed must be a whole number .+, not 'x'"),
        ({"iterations": "5,-1"}, "iterations must be .+"),
        ({"layers": "relu3_1,conv"}, "layers must be .+, not 'conv'"),
        ({"search": ["exact"]}, "search must be .+"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(settings: Settings, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.checked(options)
    text = str(caught.value)
    assert re.fullmatch(rf"{words}\.", text) and "\n" not in text


def test_options_of_mask_files_may_be_given_to_the_interface(settings: Settings) -> None:
    given = {"invert_mask": True, "resize_mask": True, "iterations": [9, 3]}
    assert settings.checked(given) == InpaintConfig(invert_mask=True, resize_mask=True, iterations=(9, 3))


def test_content_networks_are_those_of_the_library(settings: Settings) -> None:
    assert {*CONTENT_NETWORKS} <= {*weights.CONTENT_NETWORKS, *PATCH_BASED}
    assert choices(settings, "content_network") == list(CONTENT_NETWORKS)
    for name in CONTENT_NETWORKS:
        assert settings.checked({"content_network": name}).content_network == name


@pytest.mark.parametrize("own", ["/models/own.safetensors", "lama:predict"])
def test_the_server_s_own_content_network_is_offered(own: str) -> None:
    settings = settings_of(content_network=own)
    assert choices(settings, "content_network") == [own, *CONTENT_NETWORKS]
    assert settings.controls["content_network"].choices[0][0] == "This server's own"
    assert settings.checked({"content_network": "exemplar"}).content_network == "exemplar"
    assert settings.checked({"content_network": own}).content_network == own


@pytest.mark.parametrize("name", ["search", "optimizer", "precision"])
def test_all_choices_of_an_option_are_offered(settings: Settings, name: str) -> None:
    annotation = InpaintConfig.model_fields[name].annotation
    assert choices(settings, name) == list(get_args(annotation))


PRESET = {"iterations", "fine_iterations", "rematch_every"}


def test_qualities_differ_in_work_alone() -> None:
    settings = settings_of(alpha=2.0, content_network="exemplar", texture_network="own")
    values = dict(zip(settings.controls, shown(settings), strict=True)) | {"seed": 5, "iterations": "77"}
    configs = settings.presets(list(values.values()))
    assert list(configs) == [value for _, value in settings.quality.choices]
    assert settings.quality.value in configs
    rest = [{name: value for name, value in config if name not in PRESET} for config in configs.values()]
    assert all(each == rest[0] for each in rest)
    assert (rest[0]["alpha"], rest[0]["seed"], rest[0]["texture_network"]) == (2.0, 5, "own")
    draft, standard, best = configs.values()
    assert draft.iterations < standard.iterations < best.iterations
    assert draft.fine_iterations < standard.fine_iterations < best.fine_iterations
    assert draft.rematch_every >= standard.rematch_every > best.rematch_every


@pytest.mark.parametrize("options", CHANGES)
def test_choosing_a_quality_fills_its_options_in(options: dict[str, Any]) -> None:
    blocks, settings = page_of(**options)
    (event,) = (each for each in blocks.fns.values() if each.targets == [(settings.quality._id, "input")])
    presets = settings.presets(shown(settings))
    assert presets["Standard"] == InpaintConfig(**options)  # so that it is chosen at first
    for quality, config in presets.items():
        new = dict(zip(event.outputs, event.fn(quality), strict=True))
        assert settings.config([new.get(control, control.value) for control in settings.inputs]) == config
