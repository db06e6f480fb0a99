"""A page that shows an evaluation: one file of HTML that needs nothing else, with before/after sliders."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from neuralpatch_cuda.evaluation.cases import Case
from neuralpatch_cuda.evaluation.evaluate import Row, fill_path
from neuralpatch_cuda.evaluation.figures import holed
from neuralpatch_cuda.evaluation.methods import Method
from neuralpatch_cuda.evaluation.summary import Standing
from neuralpatch_cuda.synthesis.boxes import bounding_box
from neuralpatch_cuda.synthesis.windows import grow

MOST_PHOTOGRAPHS = 24
"""That are shown; a file of hundreds could not be opened."""
LONGEST_SIDE = 768
"""Pixels, of a picture in the page."""
HEADINGS = {
    "psnr_db": ("PSNR", "dB, inside the hole; higher is nearer to the photograph"),
    "l1_percent": ("L1", "%, mean absolute error inside the hole"),
    "l2_percent": ("L2", "%, mean squared error inside the hole"),
    "ssim": ("SSIM", "structural similarity inside the hole"),
    "sharpness": ("sharpness", "mean gradient magnitude inside the hole over the photograph's; best at 1"),
    "layout_db": ("layout", "dB, PSNR of the mean colours of squares of 16 px"),
    "seam": ("seam", "mean step across the hole's border over the photograph's; best at 1"),
    "stray_mean": ("stray", "mean distance of the hole's colours from any that the photograph has, in CIE Lab"),
    "stray_p95": ("stray p95", "95th percentile of these distances over the hole"),
    "lpips": ("LPIPS", "distance to the photograph as people see it; lower is nearer"),
    "efficientnet": ("EffNet", "distance to the photograph by features of EfficientNet-Lite1; lower is nearer"),
    "seconds": ("seconds", "median"),
    "extra_mb": ("MB", "most memory that a fill added at its peak"),
}
"""Of the measures: name and meaning."""


@dataclass(frozen=True)
class Shown:
    """A photograph on the page."""

    name: str
    pictures: dict[str, str]
    """Data URIs, by what they show: "hole", the methods, "photograph"."""
    measures: dict[str, dict[str, float]]
    """By method and measure."""


def write_report(
    file: Any,
    title: str,
    cases: Sequence[Case],
    methods: Sequence[Method],
    rows: Sequence[Row],
    standings: Sequence[Standing],
    folder: Path,
    notes: Sequence[str],
    against: str = "",
) -> None:
    """Write the page.

    Args:
        file: binary, to write to.
        title: what it is headed by.
        cases: that were evaluated; the first 24 are shown.
        methods: of which the fills lie in the folder.
        rows: of `evaluate`.
        standings: of `summarise`.
        folder: of the evaluation.
        notes: sentences for below the table: the machine, what was left out.
        against: name of the evaluation that the standings' differences are from.
    """
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    used = {name for standing in standings for name in standing.measures}
    page = environment.get_template("report.html").render(
        title=title,
        headings={name: heading for name, heading in HEADINGS.items() if name in used},
        standings=standings,
        shown=[_shown(case, methods, rows, folder) for case in cases[:MOST_PHOTOGRAPHS]],
        hidden=max(0, len(cases) - MOST_PHOTOGRAPHS),
        failures=[row for row in rows if row.error],
        notes=notes,
        against=against,
    )
    file.write(page.encode("utf-8", "backslashreplace"))


def _shown(case: Case, methods: Sequence[Method], rows: Sequence[Row], folder: Path) -> Shown:
    """The part around the hole, as it was, as it was given, and as it was filled."""
    measures = {row.method: dict(row.measures) for row in rows if row.photograph == case.name and not row.error}
    try:
        pixels, hole = case.load()
    except Exception:  # its rows say why
        return Shown(case.name, {}, {})
    photograph = Image.fromarray(pixels)
    box = grow(bounding_box(torch.from_numpy(hole)), 0.5, *hole.shape)
    fills = {m.label: Image.open(fill_path(folder, m, case)) for m in methods if m.label in measures}
    pictures = {"hole": holed(photograph, hole), **fills, "photograph": photograph}
    area = box.left, box.top, box.right, box.bottom
    return Shown(case.name, {name: _data_uri(picture.crop(area)) for name, picture in pictures.items()}, measures)


def _data_uri(picture: Image.Image) -> str:
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.convert("RGB").save(file, "WEBP", quality=88)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
