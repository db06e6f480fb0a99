"""A batch from beginning to end: what is done already, the rest, and the journal."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from neuralpatch_cuda.batch.item import Item
from neuralpatch_cuda.batch.journal import Journal, Record, State, read_journals
from neuralpatch_cuda.errors import ConfigError
from neuralpatch_cuda.imaging.whole import make_folder, remove_partial_files

logger = logging.getLogger(__name__)

Report = Callable[[Iterable[Record]], None]
"""Told what happened to items, as soon as it did."""
Engine = Callable[[Iterable[Item], Report], None]
"""Fills items, and reports when each is begun and how it ended."""


@dataclass
class Plan:
    """What a run has to do."""

    todo: list[Item] = field(default_factory=list)
    skipped: int = 0
    """Done already, with the same settings and files."""
    refused: list[Record] = field(default_factory=list)
    """Of items whose output is somebody else's file."""


@dataclass
class Summary:
    """What came of a run."""

    done: int = 0
    skipped: int = 0
    failed: list[Record] = field(default_factory=list)
    seconds: float = 0.0


def make_plan(items: Iterable[Item], folder: Path, overwrite: bool = False) -> Plan:
    """See what the journals in a batch's output folder say of each item.

    An item is skipped when it was done with the same settings and files and its output is there. It is refused when
    its output is a file that no run has written, or that was changed since; unless `overwrite`.
    """
    states = read_journals(folder)
    plan = Plan()
    for item in items:
        state = states.get(item.name)
        try:
            size = item.output.stat().st_size
        except OSError:
            plan.todo.append(item)
            continue
        if state and state.event != "started" and _is_current(state, item, size):
            plan.skipped += 1
        elif overwrite or _is_ours(state, size):
            plan.todo.append(item)
        else:
            how = "was changed since it was written" if state and state.key else "was there before"
            error = f"{item.output} {how}; move it away, or use --overwrite."
            plan.refused.append(Record(event="failed", item=item.name, error=error))
    return plan


def _is_current(state: State, item: Item, size: int) -> bool:
    try:
        return state.bytes == size and state.key == item.key()
    except OSError:
        return False


def _is_ours(state: State | None, size: int) -> bool:
    if state is None:
        return False
    # Killed between writing the output and saying so in the journal: what it was before does not matter.
    return state.event == "started" or state.bytes == size


def share(items: Sequence[Item], shard: tuple[int, int]) -> list[Item]:
    """Shard `i` of `n`, from 1: every n-th item."""
    index, count = shard
    return list(items[index - 1 :: count])


def parse_shard(text: str) -> tuple[int, int]:
    """ "2/8" as (2, 8).

    Raises:
        ConfigError: it is not that.
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ConfigError(f"The shard must be like 2/8, the second of eight, not {text!r}.")
    return int(index), int(count)


def run(
    plan: Plan,
    folder: Path,
    engine: Engine,
    shard: tuple[int, int] | None = None,
    on_record: Callable[[Record], None] = lambda record: None,
) -> Summary:
    """Carry a plan out.

    Args:
        plan: of `make_plan`.
        folder: of the outputs and the journal; made if need be.
        engine: does the work.
        shard: which one this is, if the batch is shared out.
        on_record: told of each item that is begun or ends.

    Raises:
        OutputError: the folder cannot be written, or another run is at work in it.
        KeyboardInterrupt: after Ctrl-C or a request to terminate, when the journal and all outputs are in order.
    """
    started = time.perf_counter()
    summary = Summary(skipped=plan.skipped, failed=list(plan.refused))
    make_folder(folder)
    with Journal(folder, shard) as journal:

        def report(records: Iterable[Record]) -> None:
            records = list(records)
            journal.append(records)
            for record in records:
                logger.info("%s: %s", record.item, record.error or record.event)
                if record.event == "done":
                    summary.done += 1
                elif record.event == "failed":
                    summary.failed.append(record)
                on_record(record)

        for refused in plan.refused:
            on_record(refused)
        names = defaultdict(set)
        for item in plan.todo:
            names[item.output.parent].add(item.output.name)
        for where, outputs in names.items():
            remove_partial_files(where, outputs)
        if plan.todo:
            engine(plan.todo, report)
    summary.seconds = time.perf_counter() - started
    return summary


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that is set when Ctrl-C or SIGTERM raises KeyboardInterrupt here; a second ends the process."""
    event = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            os._exit(130)
        event.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
