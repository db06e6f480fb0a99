"""Fills at full resolution for docs/high-resolution.md: `python benchmarks/figures_high_resolution.py PHOTOS`.

PHOTOS is the folder of Debian's package lomiri-wallpapers-16.04 with Aitzol Berasategi's photographs (CC BY 4.0).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw

from neuralpatch_cuda import Inpainter

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"

PATH = [(0, 2448), (0, 2130), (330, 1880), (480, 1640), (700, 1490), (1330, 1390), (1540, 1430), (1290, 1640)]
PATH += [(1430, 1860), (1470, 2448)]
"""Around the path in the photograph of the Picos de Europa, in pixels."""
MEADOW = [(1620, 1500), (3263, 1750), (3263, 2447), (1620, 2447)]
"""The grass beside it."""


def area(points: list[tuple[int, int]], image: Image.Image) -> Image.Image:
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon(points, fill=255)
    return mask


def whitened(image: Image.Image, mask: Image.Image) -> Image.Image:
    return Image.composite(Image.new("RGB", image.size, "white"), image, mask)


def in_a_row(images: list[Image.Image], height: int) -> Image.Image:
    """Side by side, each scaled to this height, with a narrow gap."""
    images = [image.resize((round(image.width * height / image.height), height)) for image in images]
    sheet = Image.new("RGB", (sum(image.width + 6 for image in images) - 6, height), "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + 6
    return sheet


def main(photos: Annotated[Path, typer.Argument(help="Folder of the photographs.")]) -> None:
    painter = Inpainter()
    picos = Image.open(photos / "picosdeeuropa_by_Aitzol_Berasategi.jpg").convert("RGB")
    path, meadow = area(PATH, picos), area(MEADOW, picos)
    started = time.perf_counter()
    plain = painter(picos, path)
    print(f"{picos.size}, hole of {np.count_nonzero(path)} px: {time.perf_counter() - started:.0f} s")
    of_meadow = painter(picos, path, source_mask=meadow)
    crop = (0, 1000, 2172, 2448)
    fills = [whitened(picos, path), plain, of_meadow]
    in_a_row([each.crop(crop) for each in fills], 420).save(IMAGES / "source-mask.jpg", quality=88)
    detail = (300, 1500, 1300, 2100)
    in_a_row([each.crop(detail) for each in (picos, of_meadow)], 600).save(IMAGES / "full-resolution.jpg", quality=88)

    # Two views of one place, cut from one photograph; the second is darker and shows what the first hides.
    aitzgorri = Image.open(photos / "aitzgorri_by_Aitzol_Berasategi.jpg").convert("RGB")
    first, second = aitzgorri.crop((900, 100, 1924, 868)), aitzgorri.crop((1150, 40, 2174, 808))
    second = second.point(lambda value: round(0.9 * value))
    hole = Image.new("L", first.size)
    ImageDraw.Draw(hole).rectangle((400, 150, 760, 470), fill=255)
    fills = [whitened(first, hole), second, painter(first, hole), painter(first, hole, exemplars=[second]), first]
    in_a_row(fills, 300).save(IMAGES / "exemplar.jpg", quality=88)


if __name__ == "__main__":
    typer.run(main)
