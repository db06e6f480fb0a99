"""What is evaluated: photographs, and the holes that are cut into them, from files or drawn."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from neuralpatch_cuda.batch.item import Item
from neuralpatch_cuda.batch.pairing import Pairing, Rules, find_images, pair_files, without_conflicts
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError
from neuralpatch_cuda.evaluation.methods import Hole, Pixels
from neuralpatch_cuda.imaging.files import read_image, read_mask
from neuralpatch_cuda.imaging.images import to_rgb
from neuralpatch_cuda.imaging.masks import to_hole
from neuralpatch_cuda.inpainter import to_picture
from neuralpatch_cuda.training.masks import MASK_KINDS, mask_of


@dataclass(frozen=True)
class Case:
    """A photograph and its hole."""

    item: Item
    hole: str | None = None
    """One of `MASK_KINDS`; None: the item's mask."""
    side: int | None = None
    """Photograph and mask are cut to their centre square, of this side in pixels; by default they stay as they are."""

    @property
    def name(self) -> str:
        """No other case has it: a path below the folder of photographs, with the suffix .png."""
        return self.item.name

    def key(self) -> str:
        """All that a fill depends on but its method.

        Raises:
            OSError: a file is not there.
        """
        return f"{self.item.key()} {self.hole} {self.side}"

    def load(self) -> tuple[Pixels, Hole]:
        """The photograph and its hole.

        Raises:
            FileNotFoundError, ImageError, MaskError: a file cannot be used, and why.
        """
        image = to_picture(to_rgb(read_image(self.item.image).image))
        size = image.height, image.width
        hole = None if self.hole else Image.fromarray(to_hole(read_mask(self.item.mask), size).numpy())
        if self.side is not None:
            square = self.side, self.side
            image = ImageOps.fit(image, square, Image.Resampling.LANCZOS)
            hole = hole and ImageOps.fit(hole, square, Image.Resampling.NEAREST)
        return np.array(image), np.array(hole) if hole else self._drawn(image.height, image.width)

    def _drawn(self, height: int, width: int) -> Hole:
        """A hole in the photograph's centre square, the same whichever other photographs there are."""
        assert self.hole is not None
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        drawn = np.zeros((height, width), np.bool_)
        generator = np.random.default_rng(zlib.crc32(self.name.encode()))
        drawn[top : top + side, left : left + side] = mask_of(self.hole, side, generator)
        return drawn


def fingerprint(photograph: Pixels, hole: Hole) -> str:
    """The same for the same pixels and hole, wherever their files are and whenever they were written."""
    content = hashlib.sha256(repr(hole.shape).encode())
    content.update(photograph.tobytes())
    content.update(np.packbits(hole).tobytes())  # a True may be any byte but 0
    return content.hexdigest()


def find_cases(image: str, mask: str | None, hole: str | None, side: int | None, output: Path) -> list[Case]:
    """Photographs with their masks, by the rules of `batch.pairing`, or with a drawn hole each.

    Args:
        image: a folder, a file or a pattern.
        mask: a folder or a file; None: the masks lie beside the photographs.
        hole: one of `MASK_KINDS`, instead of masks.
        side: see `Case`.
        output: the folder for the fills, in which nothing is looked for.

    Raises:
        ConfigError: there is no such folder or file, or the files do not fit together.
    """
    if hole is not None and mask is not None:
        raise ConfigError("Give either masks or a kind of hole to draw, not both.")
    if hole is not None and hole not in MASK_KINDS:
        raise ConfigError(f"The hole must be one of {', '.join(MASK_KINDS)}, not {hole!r}.")
    rules = Rules(output, InpaintConfig(), suffix=".png")
    if hole is None:
        pairing = pair_files(image, mask, rules)
    else:
        problems: list[str] = []
        found = find_images(image, output, problems)
        items = [rules.item(name, name.stem, path, path) for name, path in found.items()]
        pairing = without_conflicts(Pairing(items, problems))
    if pairing.problems or not pairing.items:
        rest = f" ({len(pairing.problems) - 1} more like this)" if len(pairing.problems) > 1 else ""
        raise ConfigError((pairing.problems or [f"There is no image in {image}."])[0] + rest)
    return [Case(item, hole, side) for item in pairing.items]
