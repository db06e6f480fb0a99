"""A manifest in CSV as programs and spreadsheets write it: with commas, semicolons or tabs, in UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError

DELIMITERS = ",;\t"
NOTES = {"note", "notes", "comment", "comments", "remark", "remarks"}
"""Columns that are for people to read."""
NUMBERS = {name for name, field in InpaintConfig.model_fields.items() if field.annotation is float}
"""Options that are one number."""
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as that of UTF-16 does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

Row = dict[str, str]


def encoding_of(path: Path) -> str:
    """That which a file's byte order mark tells, else UTF-8."""
    with path.open("rb") as file:
        start = file.read(4)
    return next((name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)), "utf-8-sig")


def read_table(path: Path, known: Collection[str], needed: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """The rows below the names of the columns, with the numbers of their lines.

    The delimiter is the one that splits the first row into the needed columns. Capitals, spaces and hyphens in names of
    columns do not matter. Empty rows and columns of notes are left out, and so is what has no name and no value.

    Args:
        path: of the file.
        known: the columns that there may be.
        needed: those that there must be.

    Raises:
        ConfigError: columns are missing, unknown or there twice.
        csv.Error, UnicodeError: it is no table.
    """
    with path.open(encoding=encoding_of(path), newline="") as file:
        before, line = next(((n, line) for n, line in enumerate(file, 1) if line.strip(DELIMITERS + '" \r\n')), (0, ""))
        if chosen := re.fullmatch(r"sep=(.)", line.rstrip("\r\n"), re.IGNORECASE):  # for Excel, which does not show it
            before, line = before + 1, file.readline()
        if not line:
            return
        candidates = {delimiter: _names(line, delimiter) for delimiter in (chosen[1] if chosen else DELIMITERS)}
        delimiter, names = max(candidates.items(), key=lambda each: (len({*needed} & {*each[1]}), len(each[1])))
        _check_names(path, names, known, needed)
        reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                number = before + reader.line_num
                yield number, _row(names, cells, delimiter, f"{path}, line {number}")


def _names(line: str, delimiter: str) -> list[str]:
    """The names of the columns, if this is what is between them."""
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True))
    except csv.Error:
        return []
    return [re.sub(r"[\s-]+", "_", cell.strip().lower()) for cell in cells]


def _check_names(path: Path, names: Sequence[str], known: Collection[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in names]
    if missing:
        found = ", ".join(filter(None, names)) or "none that can be read"
        raise ConfigError(
            f"The manifest {path} is not a table with the columns {' and '.join(needed)}: {' and '.join(missing)} "
            f"{'are' if len(missing) > 1 else 'is'} missing in its first row, which names {found}."
        )
    for name in names:
        if name and name not in known and name not in NOTES:
            close = get_close_matches(name, known, 1)
            advice = f"did you mean {close[0]}?" if close else "call a column of remarks notes."
            raise ConfigError(f"The manifest {path} has a column {name!r}, which is not known; {advice}")
        if name in known and names.count(name) > 1:
            raise ConfigError(f"The manifest {path} has the column {name} twice.")


def _row(names: Sequence[str], cells: Sequence[str], delimiter: str, where: str) -> Row:
    """The values by the names of their columns; by an empty name one that is in no column."""
    row = {}
    for name, cell in zip_longest(names, cells, fillvalue=""):
        if name in NOTES or not cell.strip():
            continue
        if delimiter != "," and re.fullmatch(r"\s*\d+,\d+\s*", cell):  # a comma may be that of a number
            if name in NUMBERS:
                cell = cell.replace(",", ".")
            elif name == "content_weight":
                both = cell.strip().replace(",", "."), cell.strip().replace(",", ", ")
                raise ConfigError(
                    f"{where}: content_weight must be {both[0]}, or {both[1]} for two scales, not {cell}."
                )
        row[name] = cell
    return row
