"""Fills of the photographs in examples/photos for docs/images: `python -m benchmarks.pictures`.

removal.jpg, before-after.jpg, source-mask.jpg, full-resolution.jpg, exemplar.jpg, content.jpg; and
benchmarks/results/removal.json.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from benchmarks.committed import RESULTS
from benchmarks.machine import machine_info
from neuralpatch_cuda import Inpainter
from neuralpatch_cuda.evaluation.content import first, prediction_sheet
from neuralpatch_cuda.evaluation.figures import contact_sheet
from neuralpatch_cuda.networks.content import CONTENT_SIDE
from neuralpatch_cuda.synthesis.content import resolve_content_network
from neuralpatch_cuda.training.data import PhotoSource, ValidationDataset

ROOT = Path(__file__).resolve().parents[1]
PHOTOS, MASKS = ROOT / "examples" / "photos", ROOT / "examples" / "masks"
IMAGES = ROOT / "docs" / "images"

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""

REMOVED: dict[str, tuple[str, Box]] = {
    "friends": ("one of two dogs", (350, 550, 1350, 1550)),
    "aitzgorri": ("a spruce", (1800, 650, 2800, 1650)),
    "picosdeeuropa": ("a rock", (2262, 1948, 2762, 2448)),
}
"""By photograph: what its mask takes away, and the part that is shown."""

PATH = [(0, 2448), (0, 2130), (330, 1880), (480, 1640), (700, 1490), (1330, 1390), (1540, 1430), (1290, 1640)]
PATH += [(1430, 1860), (1470, 2448)]
"""Around the path in the photograph of the Picos de Europa, in pixels."""
MEADOW = [(1620, 1500), (3263, 1750), (3263, 2447), (1620, 2447)]
"""The grass beside it."""


def main() -> None:
    painter = Inpainter()
    remove(painter)
    source_mask(painter)
    exemplar(painter)
    predict()


def remove(painter: Inpainter) -> None:
    """Objects, from mask to result at full resolution."""
    tiles, captions, rows = [], [], []
    for name, (what, part) in REMOVED.items():
        photograph = photo(name)
        mask = Image.open(MASKS / f"{name}.png")
        started = time.perf_counter()
        filled = painter(photograph, mask)
        seconds = time.perf_counter() - started
        left, top, right, bottom = mask.getbbox()
        hole = right - left, bottom - top
        rows.append({"removed": what, "photograph": photograph.size, "hole": hole, "seconds": round(seconds, 1)})
        tiles += [each.crop(part) for each in (photograph, whitened(photograph, mask, "magenta"), filled)]
        size, extent = (" x ".join(f"{side:,}" for side in sides) for sides in (photograph.size, hole))
        captions += [f"{what}, from {size} px", f"hole of {extent} px", "filled"]
        if name == "aitzgorri":
            in_a_row([photograph.crop(part), filled.crop(part)], 640).save(IMAGES / "before-after.jpg", quality=90)
    contact_sheet(tiles, captions, 3, 460).save(IMAGES / "removal.jpg", quality=88)
    report = {"machine": machine_info(), "rows": rows}
    (RESULTS / "removal.json").write_text(json.dumps(report, indent=1) + "\n")


def source_mask(painter: Inpainter) -> None:
    """One hole, filled from all around it and from one meadow."""
    picos = photo("picosdeeuropa")
    path, meadow = area(PATH, picos), area(MEADOW, picos)
    of_meadow = painter(picos, path, source_mask=meadow)
    crop = (0, 1000, 2172, 2448)
    fills = [whitened(picos, path), painter(picos, path), of_meadow]
    in_a_row([each.crop(crop) for each in fills], 420).save(IMAGES / "source-mask.jpg", quality=88)
    detail = (300, 1500, 1300, 2100)
    in_a_row([each.crop(detail) for each in (picos, of_meadow)], 600).save(IMAGES / "full-resolution.jpg", quality=88)


def exemplar(painter: Inpainter) -> None:
    """Two views of one place, cut from one photograph; the second is darker and shows what the first hides."""
    aitzgorri = photo("aitzgorri")
    first, second = aitzgorri.crop((900, 100, 1924, 868)), aitzgorri.crop((1150, 40, 2174, 808))
    second = second.point(lambda value: round(0.9 * value))
    hole = Image.new("L", first.size)
    ImageDraw.Draw(hole).rectangle((400, 150, 760, 470), fill=255)
    fills = [whitened(first, hole), second, painter(first, hole), painter(first, hole, exemplars=[second]), first]
    in_a_row(fills, 300).save(IMAGES / "exemplar.jpg", quality=88)


def predict() -> None:
    """What the content networks make of centred holes, at the size that they work at."""
    networks = {name: resolve_content_network(name) for name in ("content-l2", "content-adv")}
    holes = ValidationDataset(PhotoSource([PHOTOS], CONTENT_SIDE), CONTENT_SIDE, "centre")
    prediction_sheet(networks, first(holes, None), torch.device("cpu")).save(IMAGES / "content.jpg", quality=90)


def photo(name: str) -> Image.Image:
    return Image.open(PHOTOS / f"{name}.jpg").convert("RGB")


def area(points: list[tuple[int, int]], image: Image.Image) -> Image.Image:
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon(points, fill=255)
    return mask


def whitened(image: Image.Image, mask: Image.Image, colour: str = "white") -> Image.Image:
    return Image.composite(Image.new("RGB", image.size, colour), image, mask)


def in_a_row(images: list[Image.Image], height: int) -> Image.Image:
    """Side by side, each scaled to this height, with a narrow gap."""
    images = [image.resize((round(image.width * height / image.height), height)) for image in images]
    sheet = Image.new("RGB", (sum(image.width + 6 for image in images) - 6, height), "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + 6
    return sheet


if __name__ == "__main__":
    main()
