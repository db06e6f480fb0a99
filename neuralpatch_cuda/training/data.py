"""Training photographs from folders and tar files, one crop and one hole at a time."""

from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from neuralpatch_cuda.errors import DataError
from neuralpatch_cuda.training.masks import mask_of, random_mask

log = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}

MOST_ZOOM = 1.25
"""A photograph with a short side of more than so many sides of a crop is shrunk first: a crop shall show a scene."""

NAMED = 10
"""So many of the photographs that cannot be used are named; of the others only the number is told."""


@dataclass(frozen=True)
class Photo:
    """Where a photograph's bytes are."""

    path: Path
    """The image file, or the tar file that holds it."""
    member: str = ""
    offset: int = 0
    length: int = 0

    @property
    def name(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    def open(self) -> Image.Image:
        """The image, not yet decoded; raises an OSError if its header cannot be read."""
        if not self.member:
            return Image.open(self.path)
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return Image.open(io.BytesIO(file.read(self.length)))


class PhotoSource:
    """Random access to the photographs below folders and inside uncompressed tar files.

    Only the place of each is kept; it is read when it is asked for. Files that are no readable image, and photographs
    that are smaller than a crop, are left out; a warning counts and names them.
    """

    def __init__(self, sources: Sequence[Path], side: int, limit: int | None = None) -> None:
        """Look through the sources.

        Args:
            sources: folders, searched with all below them, tar files, and image files.
            side: of a crop, in pixels; the least short side of a photograph.
            limit: use the first so many only.

        Raises:
            FileNotFoundError: a source does not exist.
            DataError: a file is no tar file, or there is no photograph that can be used.
        """
        candidates = [photo for source in sources for photo in _photos_in(source)]
        names = ", ".join(str(source) for source in sources)
        if not candidates:
            raise DataError(f"No images ({', '.join(sorted(SUFFIXES))}) were found in {names}.")
        usable: list[Photo] = []
        unreadable: list[str] = []
        small: list[str] = []
        for photo in candidates:
            try:
                with photo.open() as image:
                    fits = min(image.size) >= side
            except (OSError, Image.DecompressionBombError):
                unreadable.append(photo.name)
                continue
            if fits:
                usable.append(photo)
            else:
                small.append(photo.name)
        for found, problem in ((unreadable, "cannot be read"), (small, f"are smaller than {side} px")):
            if found:
                rest = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
                log.warning("%d images %s and are left out: %s%s", len(found), problem, ", ".join(found[:NAMED]), rest)
        if not usable:
            raise DataError(
                f"None of the {len(candidates)} images in {names} can be used: {len(unreadable)} cannot be read, "
                f"{len(small)} have a short side of less than {side} px."
            )
        self.photos = usable[:limit]

    def __len__(self) -> int:
        return len(self.photos)

    def load(self, index: int) -> Image.Image:
        """Decode a photograph as RGB; in the place of one that turns out to be damaged, the next that is not.

        Raises:
            DataError: every photograph is damaged.
        """
        for step in range(len(self)):
            photo = self.photos[(index + step) % len(self)]
            try:
                with photo.open() as image:
                    decoded: Image.Image = image.convert("RGB")
                    return decoded
            except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow's, for broken files
                log.warning("%s is damaged, and another is taken in its place: %s", photo.name, error)
        raise DataError("Every photograph is damaged.")


def _photos_in(source: Path) -> Iterator[Photo]:
    if source.is_dir():
        yield from (Photo(p) for p in sorted(source.rglob("*")) if p.suffix.lower() in SUFFIXES)
    elif source.is_file() and source.suffix.lower() in SUFFIXES:
        yield Photo(source)
    elif source.is_file():
        try:
            with tarfile.open(source, "r:") as tar:
                for m in tar:
                    if m.isfile() and Path(m.name).suffix.lower() in SUFFIXES:
                        yield Photo(source, m.name, m.offset_data, m.size)
        except tarfile.TarError as error:
            raise DataError(f"{source} is neither a folder nor an uncompressed tar file.") from error
    else:
        raise FileNotFoundError(f"There is no file or folder {source}.")


class HoleDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of a photograph `[3, side, side]` in [0, 1] and a hole `[1, side, side]` of 0 and 1, for training.

    A crop of random place and zoom, mirrored half of the time, with a random hole: drawn anew for every epoch, from
    (seed, epoch, index) alone.
    """

    def __init__(self, source: PhotoSource, side: int, seed: int = 0) -> None:
        self.source, self.side, self.seed = source, side, seed
        # Shared with the workers, which live on from epoch to epoch.
        self._epoch = torch.zeros((), dtype=torch.int64, device="cpu")
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        image = _at_most(self.source.load(index), round(self.side * rng.uniform(1, MOST_ZOOM)))
        top, left = rng.integers(0, (image.height - self.side + 1, image.width - self.side + 1))
        crop = _crop(image, top, left, self.side)
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        return _tensors(crop, random_mask(self.side, rng))


class ValidationDataset(Dataset[tuple[Tensor, Tensor]]):
    """As `HoleDataset`, but always the same: centre crops, each with its hole of one of `MASK_KINDS`."""

    def __init__(self, source: PhotoSource, side: int, kind: str) -> None:
        self.source, self.side, self.kind = source, side, kind

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = _at_most(self.source.load(index), self.side)
        crop = _crop(image, (image.height - self.side) // 2, (image.width - self.side) // 2, self.side)
        return _tensors(crop, mask_of(self.kind, self.side, np.random.default_rng(index)))


def _at_most(image: Image.Image, short_side: int) -> Image.Image:
    """The image, its short side brought to `short_side` where it is more than `MOST_ZOOM` times as long."""
    short = min(image.size)
    if short <= MOST_ZOOM * short_side:
        return image
    size = [max(short_side, round(n * short_side / short)) for n in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BICUBIC, reducing_gap=2)


def _crop(image: Image.Image, top: int, left: int, side: int) -> NDArray[np.uint8]:
    return np.array(image.crop((left, top, left + side, top + side)))


def _tensors(crop: NDArray[np.uint8], mask: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1).float() / 255
    return pixels, torch.from_numpy(mask.astype(np.float32))[None]
