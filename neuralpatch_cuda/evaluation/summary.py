"""What an evaluation comes to: a mean for each method and measure, with how far it can be trusted; and how far that is
from what another one came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from neuralpatch_cuda.evaluation.evaluate import MEASURES, Row

CONFIDENCE = 0.95
RESAMPLES = 9999


@dataclass(frozen=True)
class Estimate:
    """A mean over photographs."""

    mean: float
    low: float
    high: float
    """The ends of its bootstrap confidence interval (95 %); NaN for a single photograph."""
    photographs: int
    """That it is the mean of: those whose value is finite."""


@dataclass(frozen=True)
class Difference:
    """How far one method is from one of another evaluation, over the photographs that both filled."""

    method: str
    """The other one."""
    measures: dict[str, Estimate]
    """Means of this method's values minus the other's, by the names of `evaluate.MEASURES`, as far as both have any."""


@dataclass(frozen=True)
class Standing:
    """How one method did."""

    method: str
    photographs: int
    """That were filled."""
    failed: int
    measures: dict[str, Estimate] = field(default_factory=dict)
    """By the names of `evaluate.MEASURES`, as far as there are any."""
    median_seconds: float = math.nan
    most_extra_mb: float = math.nan
    fid: float | None = None
    difference: Difference | None = None


def summarise(
    rows: Sequence[Row], fids: Mapping[str, float] | None = None, differences: Mapping[str, Difference] | None = None
) -> list[Standing]:
    """A standing for each method, in their order.

    Args:
        rows: of `evaluate`.
        fids: by the methods' labels.
        differences: of `against.differences`, by the methods' labels.
    """
    standings = []
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        filled = [row for row in own if not row.error]
        columns = {
            name: np.array([row.measures[name] for row in filled if math.isfinite(row.measures.get(name, math.nan))])
            for name in MEASURES
        }
        standings.append(
            Standing(
                method,
                len(filled),
                len(own) - len(filled),
                {name: estimate(values) for name, values in columns.items() if len(values)},
                float(np.median(columns["seconds"])) if len(columns["seconds"]) else math.nan,
                float(columns["extra_mb"].max()) if len(columns["extra_mb"]) else math.nan,
                (fids or {}).get(method),
                (differences or {}).get(method),
            )
        )
    return standings


def estimate(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Estimate:
    """The mean and its percentile bootstrap interval, the same whenever it is asked for."""
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, math.nan, math.nan, len(values))
    interval = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=0
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high), len(values))
