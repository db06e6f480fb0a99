"""What another evaluation found, to be compared with this one photograph by photograph."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuralpatch_cuda.errors import ConfigError
from neuralpatch_cuda.evaluation.cases import Case, fingerprint
from neuralpatch_cuda.evaluation.evaluate import KEY_DIGITS, MEASURES, RESULTS, Row, has_results, read_rows
from neuralpatch_cuda.evaluation.methods import Method
from neuralpatch_cuda.evaluation.summary import Difference, estimate
from neuralpatch_cuda.imaging.whole import reason_of


@dataclass(frozen=True)
class Other:
    """Another evaluation, of some of the same photographs and holes."""

    name: str
    """Of its folder."""
    rows: Sequence[Row]
    """Those of photographs that it filled."""
    methods: dict[str, str]
    """Its methods' labels, by the labels of those that they are compared with."""


def read_other(folder: Path, cases: Sequence[Case], methods: Sequence[Method]) -> Other:
    """Read what is to be compared with an evaluation of these cases and methods.

    Methods are compared with those of the same label; if each evaluation has one method only, these two are.

    Raises:
        ConfigError: the folder has no evaluation, none of a method or photograph that this one has, or one of other
            holes or of photographs that have changed.
    """
    rows = _rows(folder)
    found = list(dict.fromkeys(row.method for row in rows))
    labels = [method.label for method in methods]
    pairs = {label: label for label in labels if label in found}
    if len(labels) == len(found) == 1:
        pairs = {labels[0]: found[0]}
    if not pairs:
        raise ConfigError(
            f"No method is in both evaluations: here {_listed(labels)}, in {folder} {_listed(found)}; "
            f"name one of these like one of those, as in --method '{found[0]}: {methods[0].name}'."
        )
    rows = [row for row in rows if row.method in pairs.values() and not row.error]
    filled = {row.photograph for row in rows}
    shared = [case for case in cases if case.name in filled]
    if not shared:
        raise ConfigError(f"The evaluation in {folder} has filled none of these photographs by {_listed(found)}.")
    _check_holes(folder, rows, shared)
    return Other(folder.resolve().name, rows, pairs)


def differences(rows: Sequence[Row], other: Other) -> dict[str, Difference]:
    """How far each method is from the one that it is compared with, by its label.

    A photograph counts for a measure if both methods filled it and both values are finite.
    """
    return {method: _difference(rows, method, other, label) for method, label in other.methods.items()}


def _difference(rows: Sequence[Row], method: str, other: Other, label: str) -> Difference:
    before = {row.photograph: row.measures for row in other.rows if row.method == label}
    pairs = [
        (Row.read(row.write()).measures, before[row.photograph])  # rounded as the other's are
        for row in rows
        if row.method == method and not row.error and row.photograph in before
    ]
    columns = {
        name: np.array([this.get(name, math.nan) - that.get(name, math.nan) for this, that in pairs])
        for name in MEASURES
    }
    finite = {name: values[np.isfinite(values)] for name, values in columns.items()}
    return Difference(label, {name: estimate(values) for name, values in finite.items() if len(values)})


def _rows(folder: Path) -> list[Row]:
    try:
        rows = list(read_rows(folder / RESULTS).values()) if has_results(folder) else []
    except (OSError, csv.Error) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise ConfigError(f"Cannot read {folder / RESULTS}: {reason}.") from error
    if not rows:
        raise ConfigError(f"{folder} is not the output folder of an evaluation: it has no {RESULTS} with rows.")
    return rows


def _check_holes(folder: Path, rows: Sequence[Row], cases: Sequence[Case]) -> None:
    """Refuse other pixels or holes by the same name, and warn where that cannot be told."""
    here = {case.name: _fingerprint(case) for case in cases}
    rows = [row for row in rows if here.get(row.photograph)]
    differ = list(dict.fromkeys(row.photograph for row in rows if row.case and row.case != here[row.photograph]))
    if differ:
        raise ConfigError(
            f"The photographs or holes are not those of the evaluation in {folder}: {len(differ)} of {len(cases)} "
            f"differ, such as {differ[0]}."
        )
    if not all(row.case for row in rows):
        warnings.warn(
            f"{folder / RESULTS} is of an older version, and does not tell whether its holes are the same.",
            stacklevel=2,
        )


def _fingerprint(case: Case) -> str:
    try:
        return fingerprint(*case.load())[:KEY_DIGITS]
    except Exception:  # its row will say what is wrong
        return ""


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels)
