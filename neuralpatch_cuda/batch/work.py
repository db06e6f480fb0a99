"""The three steps of an item: read, solve, write."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from neuralpatch_cuda.batch.item import Item
from neuralpatch_cuda.batch.journal import Record
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.device import own_stream
from neuralpatch_cuda.errors import NeuralPatchError, OutputError
from neuralpatch_cuda.imaging.files import Photograph, check_writable, read_image, read_mask, write_image
from neuralpatch_cuda.imaging.images import size_of
from neuralpatch_cuda.imaging.whole import make_folder
from neuralpatch_cuda.inpainter import Inpainter, Progress

PAINTERS = 4
"""Of different settings that are kept with their networks, for items that have settings of their own."""

logger = logging.getLogger(__name__)


class Cancelled(BaseException):
    """Who asked for a fill wants it no more; not an error of it."""


@dataclass
class Task:
    """An item on its way."""

    item: Item
    key: str | None = None
    photograph: Photograph | None = None
    """None once something went wrong."""
    mask: Any = None
    bytes: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; what goes wrong in it is the item's error."""
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.error = sentence_of(error)
            self.photograph = None
            logger.debug("%s: %s failed", self.item.name, name, exc_info=True)
        self.seconds[name] = round(time.perf_counter() - started, 4)


class Worker:
    """Fills items on one device. The steps may run in different threads, and each leaves a failed task as it is."""

    def __init__(self, config: InpaintConfig, device: str, cancelled: threading.Event | None = None) -> None:
        """Load the networks of the settings that most items have.

        Raises:
            as `Inpainter`.
        """
        self._painter = lru_cache(PAINTERS)(lambda config: Inpainter(config, device))
        self.device = self._painter(config).device
        self._cancelled = cancelled or threading.Event()

    def read(self, item: Item) -> Task:
        """Read the photograph and the mask."""
        task = Task(item)
        with task.step("read"):
            task.key = item.key()
            task.photograph, task.mask = read_image(item.image), read_mask(item.mask)
            check_output(item)
            check_writable(item.output, task.photograph)
        return task

    def solve(self, task: Task) -> Task:
        """Fill the hole.

        Raises:
            Cancelled: the batch is to end.
        """
        if task.photograph is not None:
            with task.step("solve"), own_stream(self.device):
                painter: Inpainter = self._painter(task.item.config)
                image = painter(task.photograph.image, task.mask, callback=self._go_on)
                task.photograph = task.photograph.with_image(image)
        return task

    def write(self, task: Task) -> Record:
        """Write the result; it is on the disk when this returns."""
        item = task.item
        if task.photograph is not None:
            with task.step("write"):
                check_output(item)
                write_image(task.photograph, item.output, item.quality)
                task.bytes = item.output.stat().st_size
        if task.photograph is None:
            return Record(event="failed", item=item.name, key=task.key, error=task.error, seconds=task.seconds)
        height, width = size_of(task.photograph.image)
        return Record(
            event="done",
            item=item.name,
            key=task.key,
            width=width,
            height=height,
            bytes=task.bytes,
            seconds=task.seconds,
            device=str(self.device),
        )

    def _go_on(self, progress: Progress) -> None:
        if self._cancelled.is_set():
            raise Cancelled


def sentence_of(error: Exception) -> str:
    """What to tell about an item's error: the library's own sentence, or what it was, on one line."""
    if isinstance(error, MemoryError):
        return "There is not enough memory for it."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'A file'}: {error.strerror}."
    text = " ".join(str(error).split())
    expected = isinstance(error, (NeuralPatchError, FileNotFoundError, ValueError, TypeError))
    return text if expected and text else f"{type(error).__name__}: {text}".rstrip(": ") + "."


def check_output(item: Item) -> None:
    """Make the folder of an item's output.

    Raises:
        OutputError: a link would lead the output out of the batch's folder, or the folder cannot be made.
    """
    folder = item.output.parent
    root = item.output.parents[len(PurePosixPath(item.name).parts) - 1]
    if item.output.is_symlink() or not folder.resolve().is_relative_to(root.resolve()):
        raise OutputError(f"Cannot write {item.output}: it is a link, or in a linked folder.")
    make_folder(folder)
