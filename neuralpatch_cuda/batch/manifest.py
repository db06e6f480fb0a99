"""A batch as a table: a CSV or JSONL file, one row per output, with settings of its own."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from neuralpatch_cuda.batch.item import Item, as_text
from neuralpatch_cuda.batch.pairing import Pairing, Rules, without_conflicts
from neuralpatch_cuda.batch.table import NOTES, encoding_of, read_table
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError
from neuralpatch_cuda.imaging.files import FORMATS
from neuralpatch_cuda.imaging.whole import no_file, other_form, reason_of

FILES = ("image", "mask")
COLUMNS = (*FILES, "output", "quality")
"""Besides options of `InpaintConfig`."""
WHOLE = ("content_network", "texture_network")
"""Options that a row cannot have: loading a network may run what is in its file."""


def read_manifest(path: Path, rules: Rules) -> Pairing:
    """The items of a manifest.

    The columns of a CSV file, or the keys of each line of a JSONL file, are `image` and `mask`, files relative to the
    manifest's folder, `output`, relative to the folder of the outputs and by default named after the image, `quality`,
    and any option of `InpaintConfig` but the networks. Empty values are those of the whole batch, and notes are passed
    over.

    Raises:
        ConfigError: the file is not there, is no table, or lacks a column or has one that is not known.
    """
    rows = {".csv": _csv_rows, ".tsv": _csv_rows, ".txt": _csv_rows, ".jsonl": _jsonl_rows}.get(path.suffix.lower())
    if rows is None:
        raise ConfigError(f"The manifest {path} must be a .csv or a .jsonl file.")
    pairing = Pairing()
    try:
        for line, row in rows(path):
            _add(pairing, row, f"{path}, line {line}", path.parent, rules)
    except OSError as error:
        raise ConfigError(f"The manifest {path} cannot be read: {reason_of(error)}{other_form(path)}.") from error
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"The manifest {path} is not a table in UTF-8 or UTF-16: {error}.") from error
    if not pairing.items and not pairing.problems:
        pairing.problems.append(f"The manifest {path} has no rows.")
    return without_conflicts(pairing)


def _csv_rows(path: Path) -> Iterator[tuple[int, Any]]:
    return read_table(path, (*COLUMNS, *InpaintConfig.model_fields), FILES)


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding=encoding_of(path)) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def _add(pairing: Pairing, row: Any, where: str, folder: Path, rules: Rules) -> None:
    """Add the item of a row, or what is wrong with it."""
    try:
        pairing.items.append(_item(row, folder, rules))
    except (ConfigError, ValueError) as error:
        pairing.problems.append(f"{where}: {error}")


def _item(row: Any, folder: Path, rules: Rules) -> Item:
    """The item of a row.

    Raises:
        ConfigError: a value cannot be used.
    """
    if not isinstance(row, dict) or not all(isinstance(name, str) for name in row):
        raise ConfigError("This is not a row of named values.")
    if "" in row:
        raise ConfigError(f"This is not a row of named values: {row['']!r} is in a column without a name.")
    given = {name: value for name, value in row.items() if name not in NOTES and value not in (None, "")}
    image, mask = (_file(given, name, folder) for name in FILES)
    source = PurePosixPath(given["image"])
    source = PurePosixPath(source.name) if source.is_absolute() else source
    options = {name: value for name, value in given.items() if name not in COLUMNS}
    for name in WHOLE:
        if name in options:
            raise ConfigError(f"{name} is chosen for the whole batch; a row cannot have its own.")
    config = InpaintConfig(**(dict(rules.config) | options)) if options else rules.config
    item = rules.item(source, source.stem, image, mask)
    name = _output(given["output"]) if "output" in given else item.name
    quality = _quality(given["quality"]) if "quality" in given else rules.quality
    return Item(name, image, mask, rules.output / name, config, quality)


def _file(row: dict[str, Any], column: str, folder: Path) -> Path:
    value = row.get(column)
    if not isinstance(value, str):
        raise ConfigError(f"The column {column} has no file's name.")
    _check_path(value)
    path = folder / value
    if not path.is_file():
        raise ConfigError(no_file(path))
    return path


def _output(value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError("The output must be a file's name.")
    _check_path(value)
    path = PurePosixPath(value)
    if path.is_absolute():
        raise ConfigError(f"The output {value} must be relative to the folder of the outputs.")
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"The output {value} must end in one of {', '.join(FORMATS)}.")
    return str(path)


def _check_path(value: str) -> None:
    if "\0" in value or ".." in PurePosixPath(value).parts or value != as_text(value):
        raise ConfigError(f"The path {value!r} must be text, without '..' and NUL.")


def _quality(value: Any) -> int:
    try:
        quality = int(value)
    except (TypeError, ValueError):
        quality = 0
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality must be a whole number from 1 to 100, not {value!r}.")
    return quality
