"""What a result says about the machine and the software it was measured on; never the host's name, nor a path."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from neuralpatch_cuda import ops

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() and ops.build_info()["cuda"] == "yes" else [])]


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_name() -> str:
    """The GPU's name, or the processor's and the number of its cores."""
    return torch.cuda.get_device_name() if "cuda" in DEVICES else f"{cpu_name()}, {cores()} cores"


def machine_info() -> dict[str, Any]:
    info: dict[str, Any] = {
        "device": device_name(),
        "cpu": cpu_name(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python_version": platform.python_version(),
        "torch": torch.__version__,
        "build": ops.build_info(),
    }
    if "cuda" in DEVICES:
        properties = torch.cuda.get_device_properties(0)
        info |= {
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "cuda": torch.version.cuda,
        }
    return info
