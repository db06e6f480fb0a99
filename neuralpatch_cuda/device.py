"""Which device and which number format a run uses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from neuralpatch_cuda.errors import DeviceError


def choose_device(device: str | torch.device) -> torch.device:
    """Resolve "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        DeviceError: the name is not one of these, or the GPU asked for is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"There is no device {device!r}; use auto, cpu, cuda or cuda:N.") from error
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(
                "CUDA was asked for, but this PyTorch sees no CUDA GPU; use the device 'cpu' or 'auto', "
                "or install a CUDA build of PyTorch and a driver."
            )
        if chosen.index is not None and chosen.index >= torch.cuda.device_count():
            raise DeviceError(f"{chosen} was asked for, but the number of GPUs is {torch.cuda.device_count()}.")
    elif chosen.type != "cpu":
        raise DeviceError(f"device {chosen.type!r} is not supported; use auto, cpu, cuda or cuda:N.")
    return chosen


@contextmanager
def own_modes() -> Iterator[None]:
    """Compute as usual, whatever modes the caller has set in this thread: autocast, inference mode, or gradients."""
    with ExitStack() as modes:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.no_grad())
        yield


_threads = threading.local()


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Let a GPU do this thread's work beside that of other threads: in a stream that the thread keeps.

    The stream begins after what the thread has given the GPU to do before, and is waited for at the end. Elsewhere than
    on a GPU nothing happens.
    """
    if device.type != "cuda":
        yield
        return
    streams = _threads.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream = streams[device]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The texture network's number format: "fp32", "bf16", or for "auto" bf16 where the hardware computes with it."""
    if precision == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively: Ampere and later, or a CPU with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # since PyTorch 2.11
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
