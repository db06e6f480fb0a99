"""What each user works on, and the private folder of it."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageChops

from neuralpatch_cuda.app.pictures import mask_of_strokes, reduced
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ImageError, MaskError, OutputError
from neuralpatch_cuda.imaging.files import FORMATS, Photograph, check_writable, read_image, read_mask, write_image
from neuralpatch_cuda.imaging.images import Array
from neuralpatch_cuda.imaging.masks import to_hole

T = TypeVar("T")

LONGEST_STEM, LONGEST_SUFFIX = 200, 10
"""Bytes and characters that are kept of a file's name."""


@dataclass
class Job:
    """A hole to be filled."""

    mask: Image.Image
    """Of mode L and the photograph's size, white = fill."""
    config: InpaintConfig
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Ends it when it is set."""


@dataclass
class Session:
    """What one tab of a browser works on."""

    folder: Path
    """Of the files that are shown to this user; its name cannot be guessed."""
    largest: int
    """Pixels that a photograph may have."""
    name: str = ""
    """Of the photograph's file."""
    photograph: Photograph | None = None
    picture: Image.Image | None = None
    """The photograph, reduced."""
    mask: Image.Image | None = None
    """From a file: of mode L and the photograph's size, white = fill."""
    job: Job | None = None
    """What was asked for last."""
    wanted: bool = False
    """Whether that has yet to begin."""
    result: Photograph | None = None
    uploads: set[Path] = field(default_factory=set)
    """Files that Gradio holds for this user."""
    files: int = 0
    """Written so far."""
    closed: bool = False
    """Whether nobody will look at more of them."""

    def open(self, path: Path, name: str) -> None:
        """Take a photograph from a file, which is not needed any more then.

        Raises:
            ImageError: it cannot be read, or is too large.
        """
        self.uploads.add(path)
        photograph = self._read(read_image, path, name)
        self.name, self.photograph, self.picture = usable(name), photograph, reduced(photograph)
        self._begin_anew()

    def open_mask(self, path: Path, name: str, invert: bool, resize: bool) -> None:
        """Take a mask from a file, for what is painted to be added to.

        Raises:
            ImageError, MaskError: it cannot be read, or does not fit the photograph.
        """
        self.uploads.add(path)
        if self.photograph is None:
            raise MaskError("First choose a photograph, then its mask.")
        width, height = self.photograph.size
        hole = to_hole(self._read(read_mask, path, name), (height, width), invert, resize=resize)
        self.mask = Image.fromarray(hole.byte().mul(255).numpy())

    def whole_mask(self, strokes: Array | None) -> Image.Image:
        """What is to be filled, by strokes and file; of mode L and the photograph's size.

        Raises:
            MaskError: there is nothing.
        """
        if self.photograph is None:
            raise MaskError("First choose a photograph.")
        mask = self.mask
        if strokes is not None and strokes.any():
            painted = mask_of_strokes(strokes, self.photograph.size)
            mask = painted if mask is None else ImageChops.lighter(mask, painted)
        if mask is None or mask.getbbox() is None:
            raise MaskError("Nothing is marked yet: paint over what should go, or choose a mask.")
        return mask

    def go_on(self) -> None:
        """Let the result be the photograph."""
        if self.result is not None:
            self.photograph, self.picture = self.result, reduced(self.result)
            self._begin_anew()

    def ask(self, job: Job) -> None:
        """Want a hole to be filled, instead of what was wanted before."""
        self.cancel()
        self.job, self.wanted = job, True

    def take(self) -> Job | None:
        """What is wanted, once."""
        wanted, self.wanted = self.wanted, False
        return self.job if wanted else None

    def cancel(self) -> None:
        """Want it no more."""
        self.wanted = False
        if self.job is not None:
            self.job.cancelled.set()

    def _begin_anew(self) -> None:
        self.cancel()
        self.mask = self.job = self.result = None

    def _read(self, read: Callable[[Path, int], T], path: Path, name: str) -> T:
        """Read a file; what is wrong with it is told with the name that the user knows."""
        try:
            return read(path, self.largest)
        except (ImageError, MaskError, FileNotFoundError) as error:
            raise ImageError(str(error).replace(str(path), name)) from None

    def path(self, name: str) -> Path:
        """Where a file of this name may be written, in a folder of its own, so that no browser takes it for another."""
        if self.closed:
            raise OutputError("The page was closed.")
        self.files += 1
        folder = self.folder / str(self.files)
        folder.mkdir(parents=True)
        return folder / name

    def write_picture(self, picture: Image.Image, name: str) -> Path:
        """Write a picture to be shown."""
        path = self.path(name)
        write_image(Photograph(picture), path, 90 if path.suffix == ".jpg" else None)
        return path

    def write_result(self) -> Path:
        """Write the result as the photograph was, or as PNG where that format cannot be written."""
        assert self.result is not None
        stem, suffix = Path(self.name).stem, Path(self.name).suffix.lower()
        path = self.path(f"{stem}_filled{suffix if suffix in FORMATS else '.png'}")
        try:
            check_writable(path, self.result)
        except OutputError:
            path = path.with_suffix(".png")
        write_image(self.result, path)
        return path

    def clear_files(self) -> None:
        """Remove what was uploaded and what was written for the browser, for good."""
        self.closed = True
        self.cancel()
        shutil.rmtree(self.folder, ignore_errors=True)
        for path in self.uploads:
            path.unlink(missing_ok=True)


class Sessions:
    """The sessions of all users, by their names."""

    def __init__(self, folder: Path, largest: int) -> None:
        """`folder` is private; `largest` is that of `Session`."""
        self._folder, self._largest = folder, largest
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Session:
        """The session of this name, from the first call on."""
        with self._lock:
            if name not in self._sessions:
                self._sessions[name] = self.new()
            return self._sessions[name]

    def new(self) -> Session:
        """A session without a name, for a single request."""
        return Session(self._folder / secrets.token_hex(16), self._largest)

    def forget(self, name: str) -> None:
        """Remove a session and its files."""
        with self._lock:
            session = self._sessions.pop(name, None)
        if session is not None:
            session.clear_files()


def usable(name: str) -> str:
    """The name of a file without what a file system, or a terminal, may not take."""
    path = Path(re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "_", name))
    return path.stem.encode()[:LONGEST_STEM].decode(errors="ignore") + path.suffix[:LONGEST_SUFFIX]
