"""One photograph of a batch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from neuralpatch_cuda.config import InpaintConfig


def as_text(path: str) -> str:
    """A path of which bytes that are no text in the file system's encoding are escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Item:
    """A photograph, its mask, and where and how to fill it."""

    name: str
    """Path of the output relative to the batch's output folder, with forward slashes; no other item has it. What is no
    text in it is escaped."""
    image: Path
    mask: Path
    output: Path
    config: InpaintConfig = field(default_factory=InpaintConfig)
    quality: int | None = None
    """Of a lossy output, see `files.write_image`."""

    def key(self) -> str:
        """What the output depends on, as a SHA-256: the settings, and the size and time of both files.

        Raises:
            OSError: a file is not there.
        """
        files = [(status.st_size, status.st_mtime_ns) for status in (self.image.stat(), self.mask.stat())]
        what = [self.config.model_dump(mode="json"), self.quality, files]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
