"""What each part of the method is good for: studies that vary one thing, as pictures and figures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.device import choose_device
from neuralpatch_cuda.errors import ConfigError
from neuralpatch_cuda.evaluation.cases import Case
from neuralpatch_cuda.evaluation.evaluate import MEASURES, Row, evaluate
from neuralpatch_cuda.evaluation.methods import CONTENT_ALONE, Method
from neuralpatch_cuda.evaluation.sheet import sheet_of_fills
from neuralpatch_cuda.evaluation.summary import Standing, summarise
from neuralpatch_cuda.imaging.files import Photograph, write_image
from neuralpatch_cuda.imaging.whole import written_whole

Options = Mapping[str, Any]
"""Of `InpaintConfig`, where they are not the defaults."""


@dataclass(frozen=True)
class Study:
    """One thing varied."""

    question: str
    variants: Mapping[str, Options | Method]
    """By what they are called in the study."""
    swept: str | None = None
    """Where the variants are numbers: what they are numbers of."""


def _studies() -> dict[str, Study]:
    default = InpaintConfig()
    iterations = default.iterations

    def sweep(option: str, values: Sequence[float], text: str, question: str) -> Study:
        return Study(question, {f"{value:g}": {option: value} for value in values}, text)

    return {
        "scales": Study(
            "Does each scale sharpen what the one below has left blurred?",
            {
                "content network": CONTENT_ALONE,
                "first scale": {"iterations": (iterations, 0)},
                "first two": {"iterations": (iterations, iterations, 0)},
                "all": {},
            },
        ),
        "alpha": sweep(
            "alpha",
            (0, 0.1, 0.3, 1, 3, 10, 30),
            "weight of the texture term",
            "Does a higher weight of the texture term make the fill sharper, and its structure less coherent?",
        ),
        "content": Study(
            "Does the structure go wrong without the content term, and without the content network?",
            {
                "content and texture": {},
                "no content term": {"content_weight": 0},
                "no content network either": Method("texture"),
            },
        ),
        "adversary": Study(
            "Does a content network trained with an adversary, too, make sharper fills than one trained by L2 alone?",
            {
                "L2 alone": CONTENT_ALONE | {"content_network": "content-l2"},
                "L2, filled": {"content_network": "content-l2"},
                "adversarial alone": CONTENT_ALONE | {"content_network": "content-adv"},
                "adversarial, filled": {"content_network": "content-adv"},
            },
        ),
        "layers": Study(
            "Which layers' patches should be matched?",
            {
                ", ".join(layers): {"layers": layers}
                for layers in (
                    ("relu2_1",),
                    ("relu3_1",),
                    ("relu4_1",),
                    ("relu3_1", "relu4_1"),
                    ("relu2_1", "relu3_1", "relu4_1"),
                )
            },
        ),
        "patch-size": sweep("patch_size", (1, 3, 5, 7), "side of a patch, cells", "How large should the patches be?"),
        "rematching": Study(
            "What does matching anew bring? The authors' release matches once a scale.",
            {"once": {"rematch_every": 0}} | {f"every {n}": {"rematch_every": n} for n in (30, 20, 10, 5)},
        ),
        "iterations": sweep(
            "iterations", (10, 30, 60, 100, 200), "iterations per scale", "How many iterations does a scale need?"
        ),
        "precision": Study(
            "Does bfloat16 change the result?", {name: {"precision": name} for name in ("fp32", "bf16")}
        ),
        "search": Study(
            "Does PatchMatch find matches as good as the exact search?",
            {"exact": {}, "PatchMatch": {"search": "patchmatch"}},  # exact is what auto takes at this size
        ),
        "features": Study(
            "Are a trained network's features needed, or will those of a random one of the same shape do?",
            {"VGG-16": {}, "random": Method("random-features")},
        ),
    }


STUDIES = _studies()
"""By name; each varies one thing and leaves the rest at its default."""


def ablate(
    cases: Sequence[Case],
    names: Sequence[str],
    folder: Path,
    device: str = "auto",
    on_row: Callable[[Row], None] = lambda row: None,
) -> dict[str, dict[str, Standing]]:
    """Carry studies out.

    Writes NAME.png, which shows the fills of the first three cases, NAME.csv, the means over all, and, where numbers
    are varied, NAME-measures.png. A stopped run goes on, and what several studies share is filled once.

    Args:
        cases: what to fill.
        names: of `STUDIES`.
        folder: for all that is made.
        device: as of `Inpainter`.
        on_row: told of every fill.

    Returns:
        By study and variant.

    Raises:
        As `evaluate`.
    """
    studies = {name: study(name) for name in names}
    variants = {
        name: {label: _method(options) for label, options in study.variants.items()} for name, study in studies.items()
    }
    methods = list({method.label: method for of_study in variants.values() for method in of_study.values()}.values())
    rows = evaluate(cases, methods, folder, choose_device(device), on_row)
    standings = {standing.method: standing for standing in summarise(rows)}
    found = {}
    for name, of_study in variants.items():
        found[name] = {label: standings[method.label] for label, method in of_study.items()}
        _write_table(found[name], folder / f"{name}.csv")
        write_image(Photograph(sheet_of_fills(cases, of_study, rows, folder)), folder / f"{name}.png")
        if text := studies[name].swept:
            _draw_measures(found[name], text, folder / f"{name}-measures.png")
    return found


def study(name: str) -> Study:
    """The study of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in STUDIES:
        raise ConfigError(f"There is no study {name!r}; there are {', '.join(STUDIES)}.")
    return STUDIES[name]


def count(names: Sequence[str]) -> int:
    """How many different ways of filling studies have among them."""
    return len({_method(options).label for name in names for options in study(name).variants.values()})


def _method(options: Options | Method) -> Method:
    """A variant as a method; its label tells its options, so that studies share the fills of equal variants."""
    if isinstance(options, Method):
        return options
    default = InpaintConfig()
    changes = {name: _text(value) for name, value in options.items() if value != getattr(default, name)}
    return Method("neuralpatch", changes)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _write_table(standings: Mapping[str, Standing], path: Path) -> None:
    """A row for each variant: the means, and the ends of their confidence intervals."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    columns = [(name, end) for name in MEASURES for end in ("mean", "low", "high")]
    writer.writerow(["variant", "photographs", *(name if end == "mean" else f"{name}_{end}" for name, end in columns)])
    for label, standing in standings.items():
        estimates = [(standing.measures.get(name), end) for name, end in columns]
        values = [getattr(estimate, end) if estimate else math.nan for estimate, end in estimates]
        writer.writerow([label, standing.photographs, *("" if v != v else f"{v:.5g}" for v in values)])
    with written_whole(path) as file:
        file.write(lines.getvalue().encode())


def _draw_measures(standings: Mapping[str, Standing], text: str, path: Path) -> None:
    """Sharpness and the rightness of the layout against the number that is varied."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, left = plt.subplots(figsize=(5, 3.2), layout="constrained")
    right = left.twinx()
    places = range(len(standings))
    for axes, name, colour, label in (
        (left, "sharpness", "tab:blue", "sharpness, of the photograph's"),
        (right, "layout_db", "tab:red", "layout, dB"),
    ):
        axes.plot(
            places,
            [s.measures[name].mean if name in s.measures else math.nan for s in standings.values()],
            "o-",
            color=colour,
        )
        axes.set_ylabel(label, color=colour)
    left.set_xticks(places, list(standings))
    left.set_xlabel(text)
    left.grid(alpha=0.3)
    with written_whole(path) as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
