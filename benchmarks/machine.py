"""What a result says about the machine and the software it was measured on; never the host's name, nor a path."""

from __future__ import annotations

import platform
from typing import Any

import torch

from neuralpatch_cuda import ops
from neuralpatch_cuda.evaluation import machine

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() and ops.build_info()["cuda"] == "yes" else [])]


def device_name() -> str:
    """Of the device that is measured."""
    return machine.device_name(torch.device(DEVICES[-1]))


def machine_info() -> dict[str, Any]:
    info: dict[str, Any] = {
        "device": device_name(),
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
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
