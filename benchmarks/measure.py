"""How everything is measured: time, peak memory, and in the same run the limits of the machine.

Ceilings. Arithmetic: the median of five large products at the same precision, `2 n^3` operations of an n x n matrix
product; on the CPU the faster of that and a 3 x 3 convolution, because the two come from different libraries, of which
the matrix product's is far from the limit on some processors. Memory: the median of five large copies
`destination.copy_(source)` into memory that exists, the bytes read and those written both counted.

Peak memory is what a call adds, its result included.
"""

from __future__ import annotations

import functools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from neuralpatch_cuda.evaluation.memory import PeakMemory

LONG_CALL = 10.0
"""Seconds from which a call is repeated three times only, the first being its warm-up."""
SHORTEST_ROUND = 1e-3
"""Seconds; shorter calls are repeated and averaged within a round."""
MOST_ROUNDS = 50
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}

Call = Callable[[], Any]


def synchronized_clock() -> float:
    """`time.perf_counter` once the GPU has done what it was given: the timer of every benchmark."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """How a GPU multiplies float32: "ieee" or "tf32", in matrix products and convolutions."""
    settings = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = precision
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


def median_seconds(call: Call) -> float:
    call()
    seconds = []
    for _ in range(5):
        start = synchronized_clock()
        call()
        seconds.append(synchronized_clock() - start)
    return statistics.median(seconds)


@functools.cache
def product_ceiling(device: str, precision: str) -> float:
    """Floating-point operations per second; see above."""
    side = 8192 if device == "cuda" else 3072
    dtype = DTYPES[precision]
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    result = torch.empty_like(left)
    with float32_products("tf32" if precision == "tf32" else "ieee"):
        best = 2 * side**3 / median_seconds(lambda: torch.mm(left, right, out=result))
    if device == "cpu":
        image, weight = torch.randn(1, 512, 128, 128).to(dtype), torch.randn(512, 512, 3, 3).to(dtype)
        image, weight = (x.contiguous(memory_format=torch.channels_last) for x in (image, weight))
        operations = 2 * 9 * 512 * 512 * 126 * 126
        best = max(best, operations / median_seconds(lambda: F.conv2d(image, weight)))
    return best


@functools.cache
def copy_ceiling(device: str) -> float:
    """Bytes per second; see above."""
    source = torch.randn((1 << 30 if device == "cuda" else 1 << 28) // 4, device=device)
    destination = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: destination.copy_(source))


def timed_with_memory(call: Call, device: str) -> tuple[float, int | None]:
    """Seconds that a call takes, and the bytes that it adds at its peak, or None where that cannot be told."""
    with PeakMemory(device) as memory:
        start = synchronized_clock()
        result = call()
        seconds = synchronized_clock() - start
    del result  # counted, so kept until here
    return seconds, memory.extra_bytes


def free_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Record:
    """A measured benchmark: its test, its work (operations or bytes), its median and pytest-benchmark's extra_info."""

    test: str
    group: str
    work: float
    median: float
    info: dict[str, Any]


@dataclass
class Measure:
    """Measures one call and puts what was found into pytest-benchmark's `extra_info`.

    Keys: `function`, `precision`, `device`, `size` (of the problem, for plots; 0: not plotted), `flop_per_s` or
    `byte_per_s` with its `ceiling` and the `share` of it, `extra_bytes`, `ratio` (the reference's median over this
    one's), and for the operator `best_peer` and `over_best_peer` (the same for the fastest other function at the same
    precision).
    """

    benchmark: Any
    test: str
    min_rounds: int
    max_time: float
    peer_seconds: float
    records: list[Record] = field(default_factory=list)

    def __call__(
        self,
        call: Call,
        *,
        group: str,
        function: str,
        precision: str,
        device: str,
        operations: float = 0,
        moved_bytes: float = 0,
        size: float = 0,
    ) -> None:
        """Measure `call`, which does so many useful operations, or must move so many bytes.

        The functions named "op..." are the operator, and "reference" is what ratios refer to. All but the operator are
        skipped where the next smaller size predicts that they would take too long or too much memory.
        """
        self.benchmark.group = group
        if self.benchmark.disabled:
            self.benchmark(call)
            return
        info = {"function": function, "precision": precision, "device": device, "size": size}
        record = Record(self.test, group, operations or moved_bytes, math.nan, self.benchmark.extra_info)
        if not function.startswith("op"):
            self._skip_if_too_large(info, record.work, device)

        try:
            seconds, extra = timed_with_memory(call, device)
            if seconds < LONG_CALL:  # again, without what a library loads at its first use
                seconds, extra = timed_with_memory(call, device)
        except torch.OutOfMemoryError:
            pytest.skip("not enough memory")
        least = 3 if seconds >= LONG_CALL else self.min_rounds
        rounds = max(least, min(MOST_ROUNDS, math.ceil(self.max_time / seconds)))
        self.benchmark.pedantic(call, rounds=rounds, iterations=math.ceil(SHORTEST_ROUND / seconds))
        record.median = self.benchmark.stats["median"]

        rate = record.work / record.median
        ceiling = product_ceiling(device, precision) if operations else copy_ceiling(device)
        info |= {"flop_per_s" if operations else "byte_per_s": rate, "ceiling": ceiling, "share": rate / ceiling}
        info["extra_bytes"] = extra
        record.info.update(info)
        self.records.append(record)
        self._compare(group)

    def _skip_if_too_large(self, info: dict[str, Any], work: float, device: str) -> None:
        before = [
            r for r in self.records if r.test == self.test and info.items() - {("size", info["size"])} <= r.info.items()
        ]
        if not before:
            return
        scale = work / before[-1].work
        if (seconds := scale * before[-1].median) > self.peer_seconds:
            pytest.skip(f"would take about {seconds:.0f} s; --peer-seconds allows {self.peer_seconds:g}")
        if (size := scale * (before[-1].info["extra_bytes"] or 0)) > 0.8 * free_bytes(device):
            pytest.skip(f"would need about {size / 1e9:.0f} GB of memory")

    def _compare(self, group: str) -> None:
        """Ratios of the group's records, as far as it has been measured."""
        records = {(r.info["function"], r.info["precision"]): r for r in self.records if r.group == group}
        reference = next((r for (function, _), r in records.items() if function == "reference"), None)
        for (function, precision), record in records.items():
            if reference:
                record.info["ratio"] = reference.median / record.median
            peers = {f: r.median for (f, p), r in records.items() if p == precision and not f.startswith("op")}
            if function.startswith("op") and peers:
                record.info["best_peer"] = best = min(peers, key=peers.__getitem__)
                record.info["over_best_peer"] = peers[best] / record.median
