"""Files written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from neuralpatch_cuda.errors import OutputError

RANDOM_DIGITS = 8
LONGEST_NAME = 200
"""Bytes; file systems allow 255."""


def check_place(path: Path) -> None:
    """Find out before any work is done whether a file can be written, whatever is to be in it.

    Raises:
        OutputError: the folder does not exist, or the file may not be written.
    """
    folder = path.resolve().parent
    if not folder.is_dir():
        raise OutputError(f"Cannot write {path}: there is no folder {folder}{other_form(folder)}.")
    if path.is_dir():
        raise OutputError(f"Cannot write {path}: it is a folder; name a file in it.")
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f"Cannot write {path}: the file is write-protected.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error} in {folder}.") from error


def check_apart(path: Path, inputs: Mapping[str, Path]) -> None:
    """Make sure that a file to be written is none of those that are read, by whatever names and links.

    Args:
        path: of the file to be written.
        inputs: what is read, by what it is.

    Raises:
        OutputError: it is one of them.
    """
    own = identity(path)
    for what, other in inputs.items():
        if own is not None and own == identity(other):
            raise OutputError(f"{path} is the {what}, {other}; name another file, or use --overwrite.")


def identity(path: Path) -> tuple[int, int] | None:
    """Of the file itself, whatever links to it; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def no_file(path: Path) -> str:
    """The sentence that there is no such file; it names one whose name looks the same, in another Unicode form."""
    return f"There is no file {path}{other_form(path)}."


def other_form(path: Path) -> str:
    """The end of a sentence on a path that leads nowhere: what is there under a name of another Unicode form."""
    return differing_form(path, _other_form(path))


def differing_form(path: Path, other: Path | None) -> str:
    """The end of a sentence on a path: that the name of another, if any, differs from it in its Unicode form alone."""
    return "" if other in (None, path) else f"; the name of {other} differs from it in its Unicode form alone"


def form(name: str) -> str:
    """What names have in common that differ in their Unicode form alone, as those that macOS and Windows write do."""
    return unicodedata.normalize("NFC", name)


def _other_form(path: Path) -> Path | None:
    """The path of what is there under names of another Unicode form, if there is."""
    found = Path(path.anchor)
    for part in path.parts[len(found.parts) :]:
        try:
            names = [part] if (found / part).exists() else os.listdir(found)
        except (OSError, ValueError):
            return None
        same = [name for name in names if form(name) == form(part)]
        if not same:
            return None
        found /= same[0]
    return found


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, if they are not there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {path}: {reason_of(error)}.") from error


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when all is on the disk; if that fails, `path` is untouched.

    Raises:
        OutputError: it could not be written.
    """
    target = path.resolve()  # a link stays a link
    partial = target.with_name(f"{_partial(target.name)}{secrets.token_hex(RANDOM_DIGITS // 2)}.partial")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot write {path}: {reason_of(error)}.") from error
    finally:
        partial.unlink(missing_ok=True)
    with suppress(OSError):  # some network file systems cannot flush a folder; the file is there all the same
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_partial_files(folder: Path, names: Iterable[str]) -> None:
    """Remove what was left by a process that was killed while it wrote files of these names in a folder."""
    prefixes = {_partial(name) for name in names}
    for path in folder.glob(".*.partial"):
        if path.stem[:-RANDOM_DIGITS] in prefixes:
            path.unlink(missing_ok=True)


def _partial(name: str) -> str:
    """How the name of a file begins that is not all written yet; random digits and a suffix follow."""
    encoded = os.fsencode(name)
    return f".{name if len(encoded) <= LONGEST_NAME else hashlib.sha256(encoded).hexdigest()}."


def reason_of(error: Exception) -> str:
    """What an error says, in one line without a full stop."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
