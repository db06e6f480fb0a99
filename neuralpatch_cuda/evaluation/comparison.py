"""A comparison from beginning to end: fills, figures, and the files that show them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from neuralpatch_cuda.device import choose_device
from neuralpatch_cuda.errors import ConfigError
from neuralpatch_cuda.evaluation.against import differences, read_other
from neuralpatch_cuda.evaluation.cases import Case
from neuralpatch_cuda.evaluation.evaluate import Row, evaluate, fill_path
from neuralpatch_cuda.evaluation.machine import device_name
from neuralpatch_cuda.evaluation.methods import Method
from neuralpatch_cuda.evaluation.perceptual import EFFICIENTNET, FID, LPIPS, frechet_distance, load_fid
from neuralpatch_cuda.evaluation.report import write_report
from neuralpatch_cuda.evaluation.sheet import sheet_of_fills
from neuralpatch_cuda.evaluation.summary import Standing, summarise
from neuralpatch_cuda.imaging.files import Photograph, write_image
from neuralpatch_cuda.imaging.whole import written_whole

SUMMARY = "summary.json"
REPORT = "report.html"
SHEET = "fills.png"


def compare(
    cases: Sequence[Case],
    methods: Sequence[Method],
    folder: Path,
    device: str = "auto",
    on_row: Callable[[Row], None] = lambda row: None,
    against: Path | None = None,
) -> list[Standing]:
    """Evaluate methods and write into a folder the fills, `results.csv`, `summary.json`, `report.html` and `fills.png`.

    Args and errors are those of `evaluate`, and of `read_other` for `against`, the folder of another evaluation with
    which this one is compared.
    """
    where = choose_device(device)
    if against is not None and against.resolve() == folder.resolve():
        raise ConfigError(f"{folder} cannot be compared with itself: --against must be another folder.")
    other = None if against is None else read_other(against, cases, methods)
    rows = evaluate(cases, methods, folder, where, on_row)
    changes = differences(rows, other) if other else {}
    standings = summarise(rows, _fids(cases, methods, rows, folder), changes)
    machine = {
        "device": device_name(where),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "neuralpatch_cuda": version("neuralpatch_cuda"),
    }
    holes = sorted({case.hole or "from files" for case in cases})
    with written_whole(folder / SUMMARY) as file:
        summary = {
            "machine": machine,
            "photographs": len(cases),
            "holes": holes,
            "side": cases[0].side,
            "against": other and other.name,
            "methods": [_plain(asdict(method)) for method in methods],
            "standings": [_plain(asdict(standing)) for standing in standings],
        }
        file.write((json.dumps(summary, indent=1) + "\n").encode())
    named = {method.label: method for method in methods}
    write_image(Photograph(sheet_of_fills(cases, named, rows, folder)), folder / SHEET)
    notes = [
        f"Measured on {machine['device']}, with PyTorch {machine['torch']}.",
        *filter(None, [needs.missing() for needs in (LPIPS, EFFICIENTNET, FID)]),
    ]
    title = f"{len(cases)} photographs, holes: {', '.join(holes)}"
    with written_whole(folder / REPORT) as file:
        write_report(file, title, cases, methods, rows, standings, folder, notes, other.name if other else "")
    return standings


def _fids(cases: Sequence[Case], methods: Sequence[Method], rows: Sequence[Row], folder: Path) -> dict[str, float]:
    """By method, of those that filled two photographs and more; none where the network is not at hand."""
    if FID.missing():
        return {}
    metric, named = load_fid(), {case.name: case for case in cases}
    fids = {}
    for method in methods:
        done = [named[row.photograph] for row in rows if row.method == method.label and not row.error]
        if len(done) > 1:
            fids[method.label] = frechet_distance(metric, _pairs(done, method, folder))
    return fids


def _pairs(cases: Sequence[Case], method: Method, folder: Path) -> Iterator[tuple[Tensor, Tensor]]:
    for case in cases:
        photograph, _ = case.load()
        with Image.open(fill_path(folder, method, case)) as filled:
            yield _planes(np.array(filled)), _planes(photograph)


def _planes(pixels: Any) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _plain(value: Any) -> Any:
    """The same for JSON: figures with five digits, none for what is not finite, and no folder in a path."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, Path):
        return value.name
    return value if isinstance(value, (int, str, type(None))) else str(value)
