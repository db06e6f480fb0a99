"""The table that a run of the benchmarks ends with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benchmarks.figures import rate

HEADINGS = ("median", "min to max", "x reference", "x best peer", "achieved", "of ceiling", "extra MB")
ROW = "  {:<20} {:>8} {:>20} {:>12} {:>21} {:>15} {:>11} {:>9}"
NOTES = (
    "x reference, x best peer: their median over this one's",
    "achieved: useful operations, or bytes that must move, a second",
    "of ceiling: of a large product at the same precision, or of a large copy, in this run",
    "extra MB: peak memory that a call adds, its result included",
)


def table(benchmarks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The lines for pytest-benchmark's flat records; what `Measure` did not put into one is left empty."""
    yield ROW.format("", *HEADINGS)
    group = None
    for benchmark in benchmarks:
        if benchmark["group"] != group:
            group = benchmark["group"]
            yield group or ""
        yield ROW.format(*_cells(benchmark))
    yield ""
    yield from NOTES


def _cells(benchmark: Mapping[str, Any]) -> list[str]:
    info = benchmark["extra_info"]
    extra = info.get("extra_bytes")
    return [
        info.get("function", benchmark["name"]) + (" (tf32)" if info.get("precision") == "tf32" else ""),
        seconds(benchmark["median"]),
        f"{seconds(benchmark['min'])} to {seconds(benchmark['max'])}",
        f"{info['ratio']:.2f}" if "ratio" in info else "",
        f"{info['over_best_peer']:.2f} {info['best_peer']}" if "best_peer" in info else "",
        rate(info),
        f"{100 * info['share']:.0f} %" if "share" in info else "",
        "" if extra is None else f"{extra / 1e6:.1f}",
    ]


def seconds(value: float) -> str:
    """Three digits and a unit."""
    scale, unit = next(((s, u) for s, u in ((1, "s"), (1e3, "ms")) if value * s >= 1), (1e6, "us"))
    value *= scale
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
