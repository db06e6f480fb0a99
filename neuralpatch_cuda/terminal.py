"""What a command shows in the terminal: progress on stderr, tables on stdout."""

from __future__ import annotations

import io
import logging
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from neuralpatch_cuda.errors import OutputError
from neuralpatch_cuda.imaging.whole import reason_of

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from neuralpatch_cuda.batch.journal import Record
    from neuralpatch_cuda.batch.run import Summary
    from neuralpatch_cuda.evaluation.evaluate import Row
    from neuralpatch_cuda.evaluation.summary import Standing
    from neuralpatch_cuda.inpainter import Progress
    from neuralpatch_cuda.profiling import Times


class _Sink(io.RawIOBase):
    """Writes to a stream's bytes, for as long as somebody reads them: after `| head` what follows is dropped."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._bytes: Any = getattr(stream.buffer, "raw", stream.buffer)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._bytes.fileno())

    def isatty(self) -> bool:
        return bool(self._bytes.isatty())

    def write(self, data: Any) -> int:
        try:
            while (written := self._bytes.write(data)) is None:  # a full pipe that does not wait
                select.select([], [self], [])
            return int(written)
        except BrokenPipeError:
            return len(data)
        except OSError as error:
            raise OutputError(f"What is printed cannot be written: {reason_of(error)}.") from error


@contextmanager
def any_terminal() -> Iterator[None]:
    """Let anything be printed to stdout and stderr, whatever their encoding: what it lacks is escaped.

    It is no error either if nobody reads what is printed.

    Raises:
        OutputError: by what prints, if what is printed goes to a file that cannot be written.
    """
    with ExitStack() as stack:
        for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            if not isinstance(stream, io.TextIOWrapper):  # of a program that calls `main`: it takes any text
                continue
            stream.flush()
            ours = io.TextIOWrapper(
                io.BufferedWriter(_Sink(stream)),
                stream.encoding,
                errors="backslashreplace",
                newline="\n",
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            stack.enter_context(redirect(ours))
            stack.callback(_flush, ours)
        yield


def _flush(stream: io.TextIOWrapper) -> None:
    with suppress(OSError):  # it has been reported
        stream.flush()


def show_log(level: str) -> None:
    """Show what the library logs, from a level on, on stderr."""
    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(console=Console(stderr=True), show_path=False)
    logging.basicConfig(format="%(message)s", handlers=[handler])
    logging.getLogger("neuralpatch_cuda").setLevel(level.upper())


class _Bars:
    """Bars of these columns on stderr, shown while it is entered."""

    def __init__(self, quiet: bool, *columns: ProgressColumn) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bars

        self._bars = Bars(*columns, console=Console(stderr=True), disable=quiet)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()


class ProgressBars(_Bars):
    """One bar on stderr per window and scale; where stderr is not a terminal, a line for each at the end."""

    def __init__(self, quiet: bool, activity: str = "") -> None:
        """`activity` is named before each bar."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

        loss = TextColumn("loss {task.fields[loss]:.4f}")
        super().__init__(
            quiet,
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            loss,
            TimeElapsedColumn(),
        )
        self._activity = activity
        self._tasks: dict[tuple[int, int], Any] = {}

    def update(self, event: Progress) -> None:
        """Callback of `Inpainter`."""
        key = event.window, event.scale
        if key not in self._tasks:
            text = f"scale {event.scale + 1}/{event.scales}"
            if event.windows > 1:
                text = f"window {event.window + 1}/{event.windows}, {text}"
            if self._activity:
                text = f"{self._activity}, {text}"
            self._tasks[key] = self._bars.add_task(text, total=event.iterations, loss=event.loss)
        self._bars.update(self._tasks[key], completed=event.iteration + 1, loss=event.loss)


class _CountBar(_Bars):
    """One bar on stderr for many items, with the number of those that failed and the time left."""

    def __init__(self, quiet: bool, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        failed, left = TextColumn("{task.fields[failed]} failed"), TextColumn("left")
        super().__init__(
            quiet,
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            failed,
            TimeElapsedColumn(),
            left,
            TimeRemainingColumn(),
        )
        self._task = self._bars.add_task("", total=total, failed=0)
        self._failed = 0

    def _count(self, failed: bool, text: str = "") -> None:
        self._failed += failed
        self._bars.update(self._task, advance=1, failed=self._failed, description=text)


class BatchBar(_CountBar):
    """For a batch."""

    def update(self, record: Record) -> None:
        """Count an item that has ended."""
        if record.event != "started":
            self._count(record.event == "failed")


class EvaluationBar(_CountBar):
    """For an evaluation; names the method."""

    def update(self, row: Row) -> None:
        """Count a fill."""
        self._count(bool(row.error), row.method)


def printable(text: str) -> str:
    """The text as a terminal may show it: names of files can have control characters in them, or no encoding."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def print_summary(summary: Summary) -> None:
    """What came of a batch: a line, and a table of what failed."""
    from rich.console import Console
    from rich.table import Table

    print(
        f"{summary.done} filled, {summary.skipped} done before, {len(summary.failed)} failed in {summary.seconds:.1f} s"
    )
    if summary.failed:
        table = Table("Output", "Error", title="Failed", title_justify="left")
        for record in summary.failed:
            table.add_row(*(_literal(text) for text in (record.item, record.error or "")))
        Console().print(table)


def _literal(text: str) -> Any:
    from rich.console import Console
    from rich.text import Text

    encoding = Console().encoding  # escaped here, it has the width that it is given in the table
    return Text(printable(text).encode(encoding, "backslashreplace").decode(encoding), overflow="fold")


def print_standings(standings: Sequence[Standing]) -> None:
    """The table of an evaluation, of means over the photographs."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from neuralpatch_cuda.evaluation.report import HEADINGS

    found = {name for standing in standings for name in standing.measures}
    found -= {"l2_percent", "stray_p95"}  # PSNR and the mean say much the same, and a line of a terminal is short
    names = [name for name in HEADINGS if name in found]
    table = Table("method", "n", box=box.SIMPLE_HEAD, padding=0)
    for name in names:
        table.add_column(HEADINGS[name][0], justify="right", no_wrap=True)
    for standing in standings:
        figures = {name: f"{estimate.mean:.2f}" for name, estimate in standing.measures.items()}
        figures |= {"seconds": f"{standing.median_seconds:.3g}", "extra_mb": f"{standing.most_extra_mb:.0f}"}
        failed = f", {standing.failed} failed" if standing.failed else ""
        cells = [figures.get(name, "") if name in standing.measures else "" for name in names]
        table.add_row(_literal(standing.method), f"{standing.photographs}{failed}", *cells)
    Console().print(table)


def print_differences(standings: Sequence[Standing], against: Path) -> None:
    """The tables of an evaluation beside another one: a row for each measure."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from neuralpatch_cuda.evaluation.report import HEADINGS

    for standing in standings:
        if standing.difference is None:
            continue
        title = _literal(f"{standing.method} minus {standing.difference.method} of {against}")
        table = Table("measure", box=box.SIMPLE_HEAD, title=title, title_justify="left")
        for column in ("difference", "95 % interval", "n"):
            table.add_column(column, justify="right", no_wrap=True)
        measures = standing.difference.measures
        for name in (name for name in HEADINGS if name in measures):
            found = measures[name]
            interval = f"{found.low:+.3g} to {found.high:+.3g}" if found.photographs > 1 else ""
            table.add_row(HEADINGS[name][0], f"{found.mean:+.3g}", interval, str(found.photographs))
        Console().print(table)


def print_times(title: str, times: Sequence[Times]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(title.split(",")[0].rstrip("s"))
    for column in ("calls", "seconds", "share"):
        table.add_column(column, justify="right")
    total = sum(row.seconds for row in times)
    for row in times:
        share = row.seconds / total if total else 0.0
        table.add_row(row.name, f"{row.calls:,}" if row.calls else "", f"{row.seconds:.3f}", f"{share:.1%}")
    table.add_section()
    table.add_row("total", "", f"{total:.3f}", "100.0%")
    Console().print(table)
