"""The options of inpainting as controls of the page, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from gradio.components import Component

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError

STANDARD = "Standard"
PRESETS: dict[str, dict[str, Any]] = {
    "Draft": {"iterations": 20, "fine_iterations": 8, "rematch_every": 10},
    STANDARD: {},  # as the server's owner has it
    "Best": {"iterations": 120, "fine_iterations": 40, "rematch_every": 5},
}
"""Qualities, with the options that make them."""

CONTENT_NETWORKS = {
    "default": "Trained network",
    "content-adv": "Trained network, sharper and less faithful",
    "combined": "Trained network, with the photograph's own patches",
    "exemplar": "The photograph's own patches",
}
"""That a user may choose, with what they are called there; others are files or programs, for the server's owner."""

FIRST = ("mask_dilate", "alpha", "content_network", "seed")
"""Options that are always seen."""

LABELS = {"mask_dilate": "Grow the hole", "alpha": "Texture"}
INFOS = {
    "mask_dilate": "By this many pixels of the photograph.",
    "alpha": "Higher is sharper, and copies more freely.",
    "content_network": "What predicts the hole before it is sharpened.",
    "seed": "Fill again with another one for another result.",
}
"""Where a page says it otherwise than the command line."""

OF_MASK_FILES = ("invert_mask", "resize_mask")

NOT_OFFERED = ("texture_network", "memory_budget")
"""Options that are the server's."""


class Settings:
    """Controls for the options, which begin as the server's owner wants them."""

    def __init__(self, config: InpaintConfig) -> None:
        """Lay them out here."""
        self._config = InpaintConfig(**(dict(config) | dict.fromkeys(OF_MASK_FILES, False)))
        self._presets = PRESETS | {STANDARD: {name: getattr(config, name) for name in PRESETS["Draft"]}}
        self._networks = [(label, name) for name, label in CONTENT_NETWORKS.items()]
        if config.content_network not in CONTENT_NETWORKS:
            self._networks.insert(0, ("This server's own", str(config.content_network)))
        self.quality = gr.Radio(
            list(PRESETS),
            value=STANDARD,
            label="Quality",
            info="With the time that this hole will take on this machine.",
            elem_id="quality",
        )
        offered = [name for name in InpaintConfig.model_fields if name not in (*OF_MASK_FILES, *NOT_OFFERED)]
        self.controls: dict[str, Any] = {name: self._control(name) for name in FIRST}
        with gr.Accordion("Advanced", open=False):
            self.controls |= {name: self._control(name) for name in offered if name not in FIRST}
        self.quality.input(
            lambda quality: [as_typed(value) for value in self._presets[quality].values()],
            self.quality,
            [self.controls[name] for name in self._presets[STANDARD]],
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )

    @property
    def inputs(self) -> list[Component]:
        """What an event must be given for `config`."""
        return list(self.controls.values())

    def config(self, values: Sequence[Any]) -> InpaintConfig:
        """The options, from the values of `inputs`.

        Raises:
            ConfigError: one of them cannot be.
        """
        return self.checked(dict(zip(self.controls, values, strict=True)))

    def checked(self, options: Mapping[str, Any]) -> InpaintConfig:
        """The options, from those that a user gave; an empty one is the server's own.

        Raises:
            ConfigError: one of them cannot be, or is not the user's to choose.
        """
        given = {name: value for name, value in options.items() if value not in (None, "")}
        for name in given:
            if name in NOT_OFFERED:
                raise ConfigError(f"{name} is set by the server.")
        network = given.get("content_network")
        known = [name for _, name in self._networks]
        if network is not None and network not in known:
            raise ConfigError(f"content_network must be one of {', '.join(known)}, not {network!r}.")
        return InpaintConfig(**(dict(self._config) | given))

    def presets(self, values: Sequence[Any]) -> dict[str, InpaintConfig]:
        """The options of each quality, the rest from the values of `inputs`."""
        given = dict(zip(self.controls, values, strict=True))
        return {name: self.checked(given | preset) for name, preset in self._presets.items()}

    def _control(self, name: str) -> Component:
        field, value = InpaintConfig.model_fields[name], getattr(self._config, name)
        text: dict[str, Any] = {"label": LABELS.get(name, name.replace("_", " ").capitalize())}
        text |= {"info": INFOS.get(name, field.description), "elem_id": name.replace("_", "-")}
        if name == "content_network":
            return gr.Dropdown(self._networks, value=str(value), **text)
        if name == "mask_dilate":
            return gr.Slider(0, 50, value, step=1, **text)
        if name == "alpha":
            return gr.Slider(0, 5, value, step=0.1, **text)
        if name == "seed":
            return gr.Number(value, precision=0, minimum=0, **text)
        if isinstance(value, bool):
            return gr.Checkbox(value, **text)
        if get_origin(field.annotation) is Literal:
            return gr.Dropdown(list(get_args(field.annotation)), value=value, **text)
        return gr.Textbox(as_typed(value), max_lines=1, **text)


def as_typed(value: object) -> str:
    """An option's value as it is typed."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)
