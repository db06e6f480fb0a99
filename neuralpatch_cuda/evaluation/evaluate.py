"""Fills photographs whose holes are known by several methods, and measures how well; a stopped run goes on."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import Image

from neuralpatch_cuda.batch.item import as_text
from neuralpatch_cuda.batch.work import sentence_of
from neuralpatch_cuda.errors import ConfigError, ImageError, OutputError
from neuralpatch_cuda.evaluation.cases import Case, fingerprint
from neuralpatch_cuda.evaluation.memory import PeakMemory
from neuralpatch_cuda.evaluation.methods import Fill, Hole, Method, Pixels
from neuralpatch_cuda.evaluation.metrics import METRICS, measures
from neuralpatch_cuda.evaluation.perceptual import Distance, load_distances
from neuralpatch_cuda.imaging.files import Photograph, write_image
from neuralpatch_cuda.imaging.whole import make_folder, reason_of, written_whole

logger = logging.getLogger(__name__)

RESULTS = "results.csv"
"""A row for each photograph and method."""


MEASURES = (*METRICS, "lpips", "efficientnet", "seconds", "extra_mb")
"""Columns of numbers: those of `metrics.measures`, those of `perceptual.load_distances`, the time that the fill took,
and the memory it added at its peak; empty where there is none."""


@dataclass(frozen=True)
class Row:
    """What came of one photograph by one method."""

    photograph: str
    method: str
    measures: Mapping[str, float] = field(default_factory=dict)
    """By the names of `MEASURES`; those that there are."""
    error: str = ""
    """What went wrong, if anything did."""
    key: str = ""
    """Of all that the row depends on."""
    case: str = ""
    """The `fingerprint` of photograph and hole, shortened; empty where nothing was filled."""

    @classmethod
    def read(cls, texts: Mapping[str, str]) -> Row:
        """From a line of a CSV file; raises KeyError, TypeError or ValueError where it is none of ours."""
        values = {name: float(texts[name]) for name in MEASURES if texts.get(name)}  # an older version has fewer
        key, case = texts["key"][:KEY_DIGITS], texts.get("case") or ""
        return cls(texts["photograph"], texts["method"], values, texts["error"], key, case)

    def write(self) -> dict[str, str]:
        """As a line of a CSV file, with six digits."""
        values = {name: f"{value:.6g}" for name, value in self.measures.items()}
        texts = {"photograph": self.photograph, "method": as_text(self.method), "error": as_text(self.error)}
        return texts | values | {"case": self.case, "key": self.key}


COLUMNS = ("photograph", "method", *MEASURES, "error", "case", "key")
NEEDED = {"photograph", "method", "error", "key"}
"""Of the columns: an older version's table has these, and some of the others."""
KEY_DIGITS = 16


def fill_path(folder: Path, method: Method, case: Case) -> Path:
    """Where a fill is kept."""
    return folder / "fills" / slug(method.label) / case.name


def slug(label: str) -> str:
    """A label as a folder's name."""
    return "".join(c if c.isalnum() or c in "._=-" else "-" for c in label).strip(".-") or "-"


def evaluate(
    cases: Sequence[Case],
    methods: Sequence[Method],
    folder: Path,
    device: str | torch.device = "cpu",
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Fill every case by every method.

    A row of an earlier run with the same files and options stays as it is; one that failed is tried again.

    Args:
        cases: what to fill.
        methods: with different labels.
        folder: for `results.csv` and the filled photographs; made if need be.
        device: for methods that can use it.
        on_row: told of every row, old ones too.

    Returns:
        The rows, by methods and cases.

    Raises:
        ConfigError: two methods have one label, or one cannot be loaded.
        OutputError: the folder cannot be written, has other files in it, or another run is at work in it.
    """
    slugs = [slug(method.label) for method in methods]
    if len(set(slugs)) < len(slugs):
        raise ConfigError("Two methods have the same name; name them, as in 'sharper: neuralpatch alpha=4'.")
    make_folder(folder)
    _check_folder(folder)
    distances = load_distances()
    rows: list[Row] = []
    with _results(folder) as results:
        for method in methods:
            fill: Fill | None = None
            for case in cases:
                key = _key(case, method, distances)
                row = results.rows.get((case.name, method.label))
                if row is None or row.key != key or row.error or not fill_path(folder, method, case).is_file():
                    fill = fill or method.load(device)
                    row = _measured(case, method, fill, folder, key, torch.device(device), distances)
                    results.add(row)
                rows.append(row)
                on_row(row)
    return rows


def _key(case: Case, method: Method, distances: Iterable[str]) -> str:
    try:
        files = case.key()
    except OSError:
        files = ""  # reading it will say what is wrong
    options = {name: str(value) for name, value in method.options.items()}
    what = [files, method.name, options, [*METRICS, *distances]]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]


def _measured(
    case: Case,
    method: Method,
    fill: Fill,
    folder: Path,
    key: str,
    device: torch.device,
    distances: Mapping[str, Distance],
) -> Row:
    try:
        photograph, hole = case.load()
        filled, seconds, extra = _filled(fill, photograph, hole, device)
    except Exception as error:  # a method may raise anything
        logger.debug("%s by %s failed", case.name, method.label, exc_info=True)
        return Row(case.name, method.label, error=sentence_of(error), key=key)
    path = fill_path(folder, method, case)
    make_folder(path.parent)
    write_image(Photograph(Image.fromarray(filled)), path)
    result, truth = (torch.from_numpy(x).permute(2, 0, 1).float() / 255 for x in (filled, photograph))
    mask = torch.from_numpy(hole)
    values = measures(result, truth, mask) | {"seconds": seconds}
    values |= {name: distance(result, truth, mask) for name, distance in distances.items()}
    if extra is not None:
        values["extra_mb"] = extra / 1e6
    return Row(case.name, method.label, values, key=key, case=fingerprint(photograph, hole)[:KEY_DIGITS])


def _filled(fill: Fill, photograph: Pixels, hole: Hole, device: torch.device) -> tuple[Pixels, float, int | None]:
    """The filled photograph, known pixels as they were; seconds; and bytes that were added at the peak."""
    holed = np.where(hole[..., None], np.uint8(0), photograph)
    with PeakMemory(device) as memory:
        started = time.perf_counter()
        filled = fill(holed, hole)
        seconds = time.perf_counter() - started
    if not isinstance(filled, np.ndarray) or filled.dtype != np.uint8 or filled.shape != photograph.shape:
        raise ImageError(f"The method must return uint8 {list(photograph.shape)}, as it was given.")
    return np.where(hole[..., None], filled, photograph), seconds, memory.extra_bytes


class _Results:
    """The rows of a folder's CSV file, to which new ones are appended as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = read_rows(path) if path.is_file() else {}
        with written_whole(path) as binary:
            lines = io.StringIO(newline="")
            writer = self._writer(lines)
            writer.writeheader()
            writer.writerows(row.write() for row in self.rows.values())
            binary.write(lines.getvalue().encode())

    def add(self, row: Row) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            self._writer(file).writerow(row.write())

    @staticmethod
    def _writer(file: io.TextIOBase) -> csv.DictWriter[str]:
        return csv.DictWriter(file, COLUMNS, lineterminator="\n")


def has_results(folder: Path) -> bool:
    """Whether an evaluation, of this version or an older one, has written into the folder.

    Raises:
        OSError: the folder's table cannot be read.
    """
    path = folder / RESULTS
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return NEEDED.issubset(file.readline().rstrip("\n").split(","))


def read_rows(path: Path) -> dict[tuple[str, str], Row]:
    """The rows of a `results.csv` by photograph and method: the last of each, but for one in which a run was killed."""
    rows = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for texts in csv.DictReader(file):
            with suppress(KeyError, TypeError, ValueError):
                row = Row.read(texts)
                rows[row.photograph, row.method] = row
    return rows


def _check_folder(folder: Path) -> None:
    """Refuse a folder with files that are none of ours, which might be replaced."""
    try:
        ours = has_results(folder) or all(path.name.startswith(".") for path in folder.iterdir())
    except OSError as error:
        raise OutputError(f"Cannot read {folder}: {reason_of(error)}.") from error
    if not ours:
        raise OutputError(f"{folder} has files in it that no evaluation has written; give an empty folder.")


@contextmanager
def _results(folder: Path) -> Iterator[_Results]:
    lock = FileLock(folder / f".{RESULTS}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(f"Another evaluation is at work on {folder}.") from None
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {reason_of(error)}.") from error
    try:
        yield _Results(folder / RESULTS)
    finally:
        lock.release()
