"""The record of a batch: one JSON object per line, appended and flushed to the disk, so that a killed run can go on."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from typing_extensions import Self

from neuralpatch_cuda.batch.item import as_text
from neuralpatch_cuda.errors import OutputError
from neuralpatch_cuda.imaging.whole import reason_of


def now() -> str:
    """The time in UTC, to the millisecond (ISO 8601)."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


class Record(BaseModel):
    """What happened to an item."""

    time: str = Field(default_factory=now)
    event: Literal["started", "done", "failed"]
    item: str
    """Its name."""
    key: str | None = None
    """`Item.key` when it was read."""
    error: Annotated[str, BeforeValidator(as_text)] | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    """Size of the output file."""
    seconds: dict[str, float] = {}
    """What reading, solving and writing took."""
    device: str | None = None


@dataclass(slots=True)
class State:
    """How far an item has come, by the journals of all runs so far; there may be millions."""

    time: str
    event: str
    """The last one, and when it was."""
    key: str | None = None
    bytes: int | None = None
    """`Item.key` and the output's size when it was last done, if ever."""


class Journal:
    """The journal of one run at a time; enter it to append to it.

    A batch that is shared out in shards has one file for each, so that machines need not wait for one another.
    """

    def __init__(self, folder: Path, shard: tuple[int, int] | None = None) -> None:
        """The journal in a batch's output folder, of shard `i` of `n`."""
        self.path = folder / ("journal.jsonl" if shard is None else "journal-{}-of-{}.jsonl".format(*shard))
        self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), blocking=False)

    def __enter__(self) -> Self:
        """Take hold of the file.

        Raises:
            OutputError: another process has it, or it cannot be written.
        """
        try:
            self._lock.acquire()
        except Timeout:
            raise OutputError(f"Another batch is at work on {self.path.parent}: {self.path.name} is locked.") from None
        except OSError as error:
            raise OutputError(f"Cannot write {self.path}: {reason_of(error)}.") from error
        try:
            self._file = self.path.open("a+b")
            if self._file.tell() and not _ends_in_a_newline(self.path):  # a run was killed in the middle of a line
                self._file.write(b"\n")
        except OSError as error:
            self._lock.release()
            raise OutputError(f"Cannot write {self.path}: {reason_of(error)}.") from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._lock.release()

    def append(self, records: Iterable[Record]) -> None:
        """Write records; they are on the disk when this returns.

        Raises:
            OutputError: they cannot be written.
        """
        lines = "".join(record.model_dump_json(exclude_none=True) + "\n" for record in records)
        try:
            self._file.write(lines.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"Cannot write {self.path}: {reason_of(error)}.") from error


def read_journals(folder: Path) -> dict[str, State]:
    """The state of every item that any run in this folder has begun. Lines that are cut off are passed over.

    Raises:
        OutputError: a journal cannot be read.
    """
    states: dict[str, State] = {}
    for path in sorted(folder.glob("journal*.jsonl")):
        for name, state in _read(path).items():
            other = states.setdefault(name, state)
            if state.time > other.time:
                states[name] = state if state.key else replace(state, key=other.key, bytes=other.bytes)
    return states


def _read(path: Path) -> dict[str, State]:
    """By one journal, in which later lines come after earlier ones, whatever the clock said."""
    states: dict[str, State] = {}
    try:
        with path.open("rb") as lines:
            for line in lines:
                try:
                    record = Record.model_validate_json(line)
                except ValidationError:
                    continue
                state = states.setdefault(record.item, State(record.time, record.event))
                state.time, state.event = record.time, record.event
                if record.event == "done":
                    state.key, state.bytes = record.key, record.bytes
    except OSError as error:
        raise OutputError(f"Cannot read {path}: {reason_of(error)}.") from error
    return states


def _ends_in_a_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
