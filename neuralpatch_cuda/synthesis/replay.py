"""Repeated work on a GPU without launching its kernels one by one: CUDA graphs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import torch

from neuralpatch_cuda.stages import listening

WARM_UP = 3
"""Ordinary calls before the capture, in which libraries choose algorithms and set up their workspaces."""

_capturing = threading.Lock()

logger = logging.getLogger(__name__)


class Replay:
    """A function that always does the same work on the same tensors, captured in a CUDA graph after a few calls.

    It must not wait for the GPU. What it leaves behind for others to read must lie where it lay at the capture.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._calls == WARM_UP:
            self._capture()
        self._calls += 1
        if self._graph is not None:
            self._graph.replay()
        else:
            self._function()

    def _capture(self) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may work with the same GPU meanwhile, and allocate, but not capture too.
            with _capturing, torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._function()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # slower, but right
            logger.warning("The iteration cannot be captured in a CUDA graph and runs without: %s", error)
        else:
            self._graph = graph


def replayed(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The function, as a `Replay` on a GPU and as it is elsewhere, and where its stages are being timed."""
    return Replay(function) if device.type == "cuda" and not listening() else function
