"""Where the time of a run goes: by stage, by operator, and as a trace."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # not in its __all__
from torch.profiler import ProfilerActivity

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.imaging.whole import written_whole
from neuralpatch_cuda.stages import OTHER, StageClock

RECORDED = 20
"""Iterations per scale in which every operator is recorded: two re-matchings at the default settings.

PyTorch's profiler notes some 700 events an iteration, which would slow down a whole run by a few percent and fill the
memory; so the stages are timed without it, and the trace stays at about 4 MB a scale, however long the run.
"""
LISTED = 15
"""Operators with a row of their own."""

WARMING_UP, RECORDING, TIMING = "warming up", "recording", "timing"
"""The activities of `profile`, in turn."""


@dataclass(frozen=True)
class Times:
    """A row of a table: seconds, without those of the stages or operators called by it."""

    name: str
    calls: int
    seconds: float


@dataclass(frozen=True)
class Course:
    """Where the time of a run went."""

    stages: list[Times]
    """Longest first, and last what ran outside of them; of the whole run."""
    operators: list[Times]
    """Longest first, and last the rest of them; of the first `RECORDED` iterations of each scale."""
    trace: dict[str, Any]
    """Of the same, in the trace event format of Chrome."""


def profile(run: Callable[[InpaintConfig, str], None], config: InpaintConfig, device: torch.device) -> Course:
    """Make a run three times over: to warm up, to record its operators, and to time its stages.

    Args:
        run: makes one run, given the settings, cut short but for the last time, and the activity it is for.
        config: the settings of the whole run.
        device: where it computes.
    """
    run(shortened(config, 1), WARMING_UP)
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # PyTorch 2.13's profiler reports its start and end on stderr
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with StageClock(device), torch.profiler.profile(activities=activities) as profiler:
        run(shortened(config, RECORDED), RECORDING)
    with StageClock(device) as clock:
        run(config, TIMING)
    stages = [Times(name, clock.calls[name], seconds) for name, seconds in clock.seconds.items() if name != OTHER]
    return Course(
        [*longest_first(stages), Times(OTHER, 0, clock.seconds[OTHER])],
        operator_times(profiler, device),
        chrome_trace(profiler),
    )


def shortened(config: InpaintConfig, iterations: int) -> InpaintConfig:
    """The settings with at most so many iterations per scale."""
    given = config.iterations
    cut = tuple(min(n, iterations) for n in given) if isinstance(given, tuple) else min(given, iterations)
    return InpaintConfig(**(dict(config) | {"iterations": cut}))


def longest_first(times: list[Times]) -> list[Times]:
    return sorted(times, key=lambda row: row.seconds, reverse=True)


def operator_times(profiler: torch.profiler.profile, device: torch.device) -> list[Times]:
    """The operators' own times, on a GPU those of the kernels they launched."""
    rows = []
    for event in profiler.key_averages():
        if event.device_type != DeviceType.CPU or event.is_user_annotation:
            continue  # a kernel, which counts for its operator, or a stage
        microseconds = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        rows.append(Times(event.key, event.count, microseconds / 1e6))
    rows = longest_first(rows)
    rest = rows[LISTED:]
    return [*rows[:LISTED], Times(OTHER, sum(row.calls for row in rest), sum(row.seconds for row in rest))]


def chrome_trace(profiler: torch.profiler.profile) -> dict[str, Any]:
    """The profiler's trace, without the names of the machine and of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        trace: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in trace.items() if name not in ("host_name", "traceName")}


def write_trace(trace: dict[str, Any], path: Path) -> None:
    """Write a trace as JSON.

    Raises:
        OutputError: it could not be written; `path` is untouched.
    """
    with written_whole(path) as file:
        file.write(json.dumps(trace).encode())
