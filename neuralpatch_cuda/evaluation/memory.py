"""The memory that a call takes at its peak."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path

import torch
from typing_extensions import Self


class PeakMemory:
    """What runs inside this context adds `extra_bytes` at its peak; None where that cannot be told.

    On the CPU it is the growth of the process's resident set, whose high-water mark Linux can reset; on a GPU it is the
    peak of PyTorch's allocator.
    """

    extra_bytes: int | None = None

    def __init__(self, device: str | torch.device) -> None:
        self._device = torch.device(device)

    def __enter__(self) -> Self:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before: int | None = torch.cuda.memory_allocated(self._device)
        else:
            self._before = reset_peak_resident()
        return self

    def __exit__(self, *exception: object) -> None:
        gpu = self._device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self._device) if gpu else _status_bytes("VmHWM")
        self.extra_bytes = None if self._before is None else max(0, peak - self._before)


def reset_peak_resident() -> int | None:
    """The resident set in bytes, after freed memory was given back, so that what is used again counts as new."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (AttributeError, OSError):
        return None
    return _status_bytes("VmRSS")


def _status_bytes(name: str) -> int:
    status = Path("/proc/self/status")
    match = re.search(rf"{name}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return 1024 * int(match[1]) if match else 0
