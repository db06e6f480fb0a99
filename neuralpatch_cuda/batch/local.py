"""A batch on this machine: in this process on one device, or by a process for each of several."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch

from neuralpatch_cuda.batch.item import Item
from neuralpatch_cuda.batch.journal import Record
from neuralpatch_cuda.batch.run import Report
from neuralpatch_cuda.batch.work import Cancelled, Task, Worker
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.pipeline import in_order

ATTEMPTS = 2
"""Processes of its own that an item may take down with it before it is given up."""
PATIENCE = 30
"""Seconds that a process has to end by itself."""

logger = logging.getLogger(__name__)


def run_here(items: Iterable[Item], worker: Worker, jobs: int | None, report: Report) -> None:
    """Fill items in this process; while one is solved, the next are read and the last is written.

    Args:
        items: asked for one by one, a few of them ahead.
        worker: does it, and should have been made in this thread.
        jobs: how many are solved at once; None: as `default_jobs` has it.
        report: told when an item is begun, and how it ended; by one thread at a time.
    """
    jobs = jobs or default_jobs(worker.device)
    reporting = threading.Lock()

    def begun() -> Iterator[Item]:
        for item in items:
            with reporting:
                report([Record(event="started", item=item.name)])
            yield item

    def end(task: Task) -> None:
        record = worker.write(task)
        with reporting:
            report([record])

    tasks = in_order(worker.read, begun())
    # One at a time is solved in this thread: where several threads each have a team of OpenMP's, those stop spinning
    # between loops, and a solution takes a third longer on a processor.
    solved = in_order(worker.solve, tasks, workers=jobs) if jobs > 1 else map(worker.solve, tasks)
    for _ in in_order(end, solved):
        pass


def default_jobs(device: torch.device) -> int:
    """How many items are best solved at once: two on a processor, of which one alone leaves some idle."""
    return 2 if device.type == "cpu" and torch.get_num_threads() > 1 else 1


def run_on_devices(
    items: Iterable[Item], config: InpaintConfig, devices: Sequence[str], jobs: int | None, report: Report
) -> None:
    """Fill items by one process for each device.

    Items that were in a process when that died (for want of memory, say) are tried again, each in a process of its own,
    and given up when they took `ATTEMPTS` of those with them.

    Args:
        items: what to do; each goes to the first process that is free.
        config: the settings that most items have.
        devices: names; the same one may be there several times.
        jobs: how many are solved at once by each; None: as `default_jobs` has it.
        report: told when an item is begun, and how it ended; by one thread at a time.
    """
    dispatch = Dispatch(items, report)
    threads = max(1, torch.get_num_threads() // len(devices))
    watchers = [
        threading.Thread(target=dispatch.serve, args=(config, device, jobs, threads), daemon=True) for device in devices
    ]
    for watcher in watchers:
        watcher.start()
    try:
        for watcher in watchers:
            while watcher.is_alive():  # without a limit, Ctrl-C would have to wait
                watcher.join(0.2)
    except BaseException:
        dispatch.end()
        for watcher in watchers:
            watcher.join(PATIENCE)
        raise
    if dispatch.failure is not None:
        raise dispatch.failure


class Dispatch:
    """Hands items out to processes, and takes back those of a process that died."""

    def __init__(self, items: Iterable[Item], report: Report) -> None:
        self._waiting = deque(items)
        self._suspects: deque[Item] = deque()
        """Each was in a process that died, and has the next one for itself."""
        self._report = report
        self._deaths: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._processes: set[Any] = set()
        self._ending = False
        self.failure: Exception | None = None
        """Why the batch cannot go on."""

    def serve(self, config: InpaintConfig, device: str, jobs: int | None, threads: int) -> None:
        """Keep a process busy until nothing waits; if it dies, start another."""
        try:
            self._serve(config, device, jobs, threads)
        except Exception as error:
            self.end(error)

    def _serve(self, config: InpaintConfig, device: str, jobs: int | None, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        while (self._waiting or self._suspects) and not self._ending:
            suspects = self._next(self._suspects)
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, config, device, jobs, threads), daemon=True)
            with self._lock:
                self._processes.add(process)
                process.start()
            theirs.close()
            held: dict[str, Item] = {}
            try:
                self._converse(ours, held, suspects or self._rest())
            except (EOFError, ConnectionError):
                process.join(PATIENCE)
                self._take_back(list(held.values()), device, process.exitcode, alone=bool(suspects))
            finally:
                ours.close()
                process.join(PATIENCE)

    def end(self, failure: Exception | None = None) -> None:
        """Stop the processes."""
        with self._lock:
            self._ending = True
            self.failure = self.failure or failure
            for process in self._processes:
                if process.is_alive():
                    process.terminate()

    def _next(self, items: deque[Item]) -> list[Item]:
        with self._lock:
            return [items.popleft()] if items else []

    def _rest(self) -> Iterator[Item]:
        while item := self._next(self._waiting):
            yield from item

    def _converse(self, connection: Connection[Any, Any], held: dict[str, Item], items: Iterable[Item]) -> None:
        """Answer a process that asks for items and reports; `held` are those that it has.

        Raises:
            EOFError, ConnectionError: the process died.
        """
        items = iter(items)
        while (message := connection.recv()) != END:
            if message == MORE:
                item = next(items, None)
                if item is not None:
                    held[item.name] = item
                connection.send(item)
            elif isinstance(message, Exception):
                self.end(message)
                return
            else:
                self._tell(message)
                for record in message:
                    if record.event != "started":
                        del held[record.item]

    def _take_back(self, held: list[Item], device: str, exit_code: int | None, alone: bool) -> None:
        """Let others do what a dead process had, or give it up."""
        if self._ending:
            return
        if not held:
            self.end(RuntimeError(f"No process can be kept alive on {device} (exit code {exit_code})."))
            return
        logger.warning("The process on %s died (exit code %s); another one takes its place.", device, exit_code)
        for item in held:
            self._deaths[item.name] += alone
            if self._deaths[item.name] < ATTEMPTS:
                self._suspects.append(item)
            else:
                cause = f"The process that filled it died each time (exit code {exit_code}), maybe for want of memory."
                self._tell([Record(event="failed", item=item.name, error=cause)])

    def _tell(self, records: list[Record]) -> None:
        with self._lock:
            self._report(records)


MORE: Literal["more"] = "more"
"""A process asks for an item, and is sent one, or None where none is left."""
END: Literal["end"] = "end"
"""A process has done all it was given and ends."""


def _work(connection: Connection[Any, Any], config: InpaintConfig, device: str, jobs: int | None, threads: int) -> None:
    """What a process does: ask for items, and report."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the first one ends the others
    cancelled = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    torch.set_num_threads(threads)

    def items() -> Iterator[Item]:
        while True:
            connection.send(MORE)
            item = connection.recv()
            if item is None:
                return
            yield item

    try:
        run_here(items(), Worker(config, device, cancelled), jobs, connection.send)
        connection.send(END)
    except (Cancelled, EOFError, BrokenPipeError):  # the first process ends this one, or is gone
        pass
    except Exception as error:
        with suppress(BrokenPipeError):
            connection.send(error)
