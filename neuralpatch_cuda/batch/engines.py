"""The engines of `run`, as the command line names them."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import torch

from neuralpatch_cuda.batch.item import Item
from neuralpatch_cuda.batch.local import run_here, run_on_devices
from neuralpatch_cuda.batch.ray_engine import RaySettings, run_on_ray
from neuralpatch_cuda.batch.run import Engine, Report
from neuralpatch_cuda.batch.work import Worker
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.device import choose_device
from neuralpatch_cuda.errors import ConfigError, DeviceError


def on_this_machine(config: InpaintConfig, devices: str, jobs: int | None, cancelled: threading.Event) -> Engine:
    """An engine in this process, or with a process for each of several devices.

    Args:
        config: the settings that most items have.
        devices: names with commas between them, or "all" for every GPU.
        jobs: how many items each device fills at once; None: as `default_jobs` has it.
        cancelled: makes the work in this process end soon.

    Raises:
        DeviceError: a device is not there.
    """
    if devices == "all":
        names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        if not names:
            raise DeviceError("There is no GPU that this PyTorch can use; name the devices, such as cpu.")
    else:
        names = [str(choose_device(name.strip())) for name in devices.split(",")]

    def engine(items: Iterable[Item], report: Report) -> None:
        if len(names) == 1:
            run_here(items, Worker(config, names[0], cancelled), jobs, report)
        else:
            run_on_devices(items, config, names, jobs, report)

    return engine


def on_ray(config: InpaintConfig, settings: RaySettings) -> Engine:
    """An engine on a Ray cluster."""
    return lambda items, report: run_on_ray(items, config, settings, report)


def ray_settings(address: str | None, workers: str | None, gpus: float, cpus: float) -> RaySettings:
    """The settings of `on_ray`; `workers` is like "4" or "1-8".

    Raises:
        ConfigError: it is not.
    """
    if workers is None:
        return RaySettings(address, None, gpus, cpus)
    least, _, most = workers.partition("-")
    if not (least.isdecimal() and (most or least).isdecimal() and 1 <= int(least) <= int(most or least)):
        raise ConfigError(f"The workers must be like 4 or 1-8, not {workers!r}.")
    return RaySettings(address, (int(least), int(most or least)), gpus, cpus)
