"""Figures as they stand in the documents' tables: rounded alike everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def figure(value: float) -> str:
    """Three digits, or two below one."""
    decimals = 3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"


def duration(seconds: float) -> str:
    return f"{figure(seconds)} s" if seconds >= 1 else f"{figure(1000 * seconds)} ms"


def times(ratio: float | None) -> str:
    """How many times as long; finer near one."""
    return "" if ratio is None else f"{ratio:,.{2 if ratio < 2 else 1 if ratio < 100 else 0}f}"


def percent(share: float, decimals: int = 0) -> str:
    return f"{100 * share:.{decimals}f} %"


def megabytes(size: float | None) -> str:
    if size is None:
        return ""
    return f"{size / 1e6:,.{1 if 0.05e6 <= size < 1e6 else 0}f}"


def per_second(value: float, unit: str) -> str:
    """FLOP/s or B/s, in thousands of millions or, of many, in millions of millions."""
    prefix, value = ("T", value / 1e12) if value >= 1e12 else ("G", value / 1e9)
    return f"{value:,.{1 if value < 10 else 0}f} {prefix}{unit}"


def rate(info: Mapping[str, Any]) -> str:
    """What a benchmark's `extra_info` says of its operations or bytes per second."""
    if "flop_per_s" in info:
        return per_second(info["flop_per_s"], "FLOP/s")
    return per_second(info["byte_per_s"], "B/s") if "byte_per_s" in info else ""


def grouped(text: str) -> str:
    """Commas in a text's numbers of four digits and more."""
    return " ".join(f"{int(word):,}" if word.isdigit() else word for word in text.split(" "))
