"""The stages of a run: marks in the code, and a clock that says how long each took.

    with stage("match"):
        ...

A mark costs next to nothing until a `StageClock` listens; then it also shows in traces of `torch.profiler` and, on a
GPU, as an NVTX range.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch.profiler import record_function
from typing_extensions import Self

OTHER = "other"
"""What runs outside every stage."""

_IDLE = nullcontext()
_listening: StageClock | None = None


def stage(name: str) -> AbstractContextManager[None]:
    """Mark what runs in the context as a stage. Stages may be nested."""
    return _IDLE if _listening is None else _listening.mark(name)


def listening() -> bool:
    """Whether a `StageClock` sums the stages' times."""
    return _listening is not None


class StageClock:
    """Listens, while it is entered, to the stages of this process, and sums their times.

    A stage's time is its own, without the stages inside it, so that the times of all stages and of `OTHER` add up to
    the time from entry to exit. On a GPU it is the GPU's time, taken with events in its stream: nothing waits until
    the clock is left. Inside the capture of a CUDA graph nothing is marked.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """By stage, when the clock has been left."""
        self.calls: Counter[str] = Counter()
        self._on_gpu = device.type == "cuda"
        self._device = device
        self._open = [OTHER]
        self._marks: list[tuple[str, float | torch.cuda.Event]] = []
        """The stage that ends or is interrupted, and when."""

    def __enter__(self) -> Self:
        global _listening
        _listening = self
        self._note()
        return self

    def __exit__(self, *exception: object) -> Literal[False]:
        global _listening
        self._note()
        _listening = None
        if self._on_gpu:
            torch.cuda.synchronize(self._device)
        for (_, start), (name, end) in zip(self._marks, self._marks[1:], strict=False):
            if isinstance(start, float) and isinstance(end, float):
                self.seconds[name] += end - start
            elif isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
                self.seconds[name] += start.elapsed_time(end) / 1000
        return False

    @contextmanager
    def mark(self, name: str) -> Iterator[None]:
        """See `stage`."""
        if self._on_gpu and torch.cuda.is_current_stream_capturing():
            yield
            return
        self._note()
        self._open.append(name)
        self.calls[name] += 1
        with record_function(name), torch.cuda.nvtx.range(name) if self._on_gpu else _IDLE:
            try:
                yield
            finally:
                self._note()
                self._open.pop()

    def _note(self) -> None:
        now: float | torch.cuda.Event
        if self._on_gpu:
            now = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            now.record(torch.cuda.current_stream(self._device))
        else:
            now = time.perf_counter()
        self._marks.append((self._open[-1], now))
