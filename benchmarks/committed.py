"""The committed results, as `benchmarks.run` and the other benchmarks leave them in benchmarks/results."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"

CPU, GPU = "amd-epyc-2-cores", "nvidia-h200"
"""The devices that hand-written documents speak of; their folders."""


@functools.cache
def load(name: str) -> Any:
    """What NAME.json holds; None where it was not measured."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def devices() -> list[str]:
    """The folders that have pytest-benchmark's results."""
    files = sorted(RESULTS.glob("*/*.json"))
    return list(dict.fromkeys(f.parent.name for f in files if "benchmarks" in load(f"{f.parent.name}/{f.stem}")))


def benchmarks(device: str, name: str, /, **params: str) -> list[dict[str, Any]]:
    """Those of DEVICE/NAME.json that have these parameters; on a machine with a GPU, those that ran on it."""
    results = load(f"{device}/{name}")
    found: list[dict[str, Any]] = results["benchmarks"] if results else []
    kinds = {benchmark["params"]["device"] for benchmark in found}
    params |= {"device": "cuda" if "cuda" in kinds else "cpu"}
    return [benchmark for benchmark in found if params.items() <= benchmark["params"].items()]


def benchmark(device: str, name: str, /, **params: str) -> dict[str, Any] | None:
    """The only one with these parameters; None if it was not measured."""
    found = benchmarks(device, name, **params)
    assert len(found) <= 1, f"several of {device}/{name} have {params}"
    return found[0] if found else None
