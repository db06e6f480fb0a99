"""Training photographs from folders and tar files, one crop and one hole at a time."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from neuralpatch_cuda.errors import DataError
from neuralpatch_cuda.training.masks import centre_mask, random_mask

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


class PhotoSource:
    """Random access to the image files below folders and inside uncompressed tar files.

    Only the position of each member is kept; the bytes are read when they are asked for.
    """

    def __init__(self, sources: Sequence[Path]) -> None:
        self._entries: list[tuple[Path, int, int]] = []  # file, offset, length; length -1: the whole file
        for source in sources:
            if source.is_dir():
                files = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
                self._entries += [(p, 0, -1) for p in files]
            elif source.is_file():
                try:
                    with tarfile.open(source, "r:") as tar:
                        self._entries += [
                            (source, m.offset_data, m.size)
                            for m in tar
                            if m.isfile() and Path(m.name).suffix.lower() in SUFFIXES
                        ]
                except tarfile.TarError as error:
                    raise DataError(f"{source} is neither a folder nor an uncompressed tar file") from error
            else:
                raise FileNotFoundError(f"training data not found: {source}")
        if not self._entries:
            names = ", ".join(str(s) for s in sources)
            raise DataError(f"no images ({', '.join(sorted(SUFFIXES))}) found in {names}")

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, index: int) -> Image.Image:
        """Decode one image as RGB."""
        path, offset, length = self._entries[index]
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        try:
            return Image.open(io.BytesIO(data)).convert("RGB")
        except OSError as error:
            raise DataError(f"cannot decode image {index} of {path} (at byte {offset}): {error}") from error


class HoleDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of a photograph `[3, side, side]` in [0, 1] and a hole `[1, side, side]` of 0 and 1.

    For training: a random crop, mirrored half of the time, with a random hole, drawn anew for every epoch from
    (seed, epoch, index). For validation: the centre crop and the centre hole.
    """

    def __init__(self, source: PhotoSource, side: int, *, train: bool, seed: int = 0) -> None:
        self.source, self.side, self.train, self.seed = source, side, train, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.source.load(index)
        short = min(image.size)
        if short < self.side:
            scale = self.side / short
            size = (max(self.side, round(image.width * scale)), max(self.side, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.BICUBIC)
        spare = np.array([image.height - self.side, image.width - self.side])
        if self.train:
            rng = np.random.default_rng((self.seed, self.epoch, index))
            top, left = rng.integers(0, spare + 1)
            mask = random_mask(self.side, rng)
            mirror = rng.random() < 0.5
        else:
            top, left = spare // 2
            mask = centre_mask(self.side, self.side // 2)
            mirror = False
        crop = np.asarray(image)[top : top + self.side, left : left + self.side]
        if mirror:
            crop = crop[:, ::-1]
        pixels = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1).float() / 255
        return pixels, torch.from_numpy(mask)[None].float()
