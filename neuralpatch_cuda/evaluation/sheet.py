"""Fills of several photographs by several methods, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

from neuralpatch_cuda.evaluation.cases import Case
from neuralpatch_cuda.evaluation.evaluate import Row, fill_path
from neuralpatch_cuda.evaluation.figures import contact_sheet, holed
from neuralpatch_cuda.evaluation.methods import Hole, Method
from neuralpatch_cuda.synthesis.boxes import bounding_box

SHOWN = 3
"""Photographs in a sheet, the first ones."""
TILE = 240
"""Pixels, of a picture in it."""
MARGIN = 0.1
"""Of known pixels around the hole, as a share of its longer side."""


def sheet_of_fills(
    cases: Sequence[Case], methods: Mapping[str, Method], rows: Sequence[Row], folder: Path
) -> Image.Image:
    """A row for each of the first cases that were filled: the hole, what each method made of it, and the photograph.

    Args:
        cases: that were evaluated.
        methods: by their captions.
        rows: of `evaluate`.
        folder: of the fills.
    """
    by_fill = {(row.photograph, row.method): row for row in rows}
    tiles, captions = [], []
    filled = {row.photograph for row in rows if not row.error}
    for case in [case for case in cases if case.name in filled][:SHOWN]:
        pixels, hole = case.load()
        area = _around(hole)
        photograph = Image.fromarray(pixels)
        known = holed(photograph, hole).crop(area)
        tiles.append(known)
        captions.append("hole")
        for label, method in methods.items():
            row = by_fill[case.name, method.label]
            if row.error:
                tiles.append(known)
                captions.append(f"{label}\nfailed")
            else:
                with Image.open(fill_path(folder, method, case)) as fill:
                    tiles.append(fill.crop(area))
                captions.append(f"{label}\n{row.measures['psnr_db']:.1f} dB, {row.measures['sharpness']:.2f}")
        tiles.append(photograph.crop(area))
        captions.append("photograph")
    return contact_sheet(tiles, captions, len(methods) + 2, TILE)


def _around(hole: Hole) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the hole with a margin."""
    box = bounding_box(torch.from_numpy(hole))
    margin = round(MARGIN * max(box.height, box.width))
    height, width = hole.shape
    return (
        max(0, box.left - margin),
        max(0, box.top - margin),
        min(width, box.right + margin),
        min(height, box.bottom + margin),
    )
