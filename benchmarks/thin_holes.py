"""Thin holes in a photograph, made and filled: `python -m benchmarks.thin_holes PHOTO --out FILE`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image, ImageDraw

from benchmarks.machine import machine_info
from neuralpatch_cuda import Inpainter
from neuralpatch_cuda.evaluation.memory import PeakMemory
from neuralpatch_cuda.evaluation.metrics import psnr

DETAIL = 400
"""Pixels, of the details that are shown."""

DETAILS = (("scratches", 1300, 1400), ("print", 700, 800))
"""Of which kinds, and where: left and top."""


def scratched(size: tuple[int, int], count: int, seed: int = 0) -> Image.Image:
    """A mask of curved scratches, 10 to 80 px long and 1 to 3 px wide, anywhere."""
    generator = np.random.default_rng(seed)
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for _ in range(count):
        x, y = generator.uniform(0, size[0]), generator.uniform(0, size[1])
        direction, length, bend = generator.uniform((0, 10, -1.5), (2 * np.pi, 80, 1.5))
        steps = np.linspace(0, 1, 8)
        angles = direction + bend * steps
        points = zip(x + length * steps * np.cos(angles), y + length * steps * np.sin(angles), strict=True)
        draw.line(list(points), fill=255, width=int(generator.integers(1, 4)))
    return mask


def damaged(size: tuple[int, int], scratches: int = 40, spots: int = 12, seed: int = 0) -> Image.Image:
    """A mask as of an old print: long curved scratches that cross, 1 to 5 px wide, and spots of 10 to 30 px."""
    generator = np.random.default_rng(seed)
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    across, down = np.array(size)
    for _ in range(scratches):
        ends = generator.uniform(-0.1, 1.1, (2, 2)) * (across, down)
        bend = generator.uniform(-0.1, 0.1) * (ends[1] - ends[0])[::-1] * (1, -1)
        steps = np.linspace(0, 1, 60)[:, None]
        points = ends[0] + steps * (ends[1] - ends[0]) + np.sin(np.pi * steps) * bend
        draw.line([tuple(point) for point in points], fill=255, width=int(generator.integers(1, 6)))
    for _ in range(spots):
        x, y = generator.uniform(0, across), generator.uniform(0, down)
        width, height = generator.uniform(10, 30, 2) / 2
        draw.ellipse((x - width, y - height, x + width, y + height), fill=255)
    return mask


def zigzag(size: tuple[int, int], length: int = 20_000) -> Image.Image:
    """A mask of a line of one pixel's width, up and down the image, as long as there is room for it."""
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    legs = max(1, round(length / size[1]))
    points = [((leg + 0.5) * size[0] / (legs + 1), size[1] - 1 if leg % 2 else 0) for leg in range(legs + 1)]
    draw.line(points, fill=255)
    return mask


def salt(size: tuple[int, int], share: float = 0.001, seed: int = 0) -> Image.Image:
    """A mask of single pixels anywhere."""
    lost = np.random.default_rng(seed).random(size[::-1]) < share
    return Image.fromarray(lost.astype(np.uint8) * 255)


@dataclass(frozen=True)
class Kind:
    """A kind of damage, and the photograph that it is done to."""

    text: str
    draw: Callable[[tuple[int, int]], Image.Image]
    megapixels: float | None = None
    """That the photograph is reduced to; None: it stays as it is."""


KINDS = {
    "scratches": Kind("3,000 scratches of 10 to 80 px, 1 to 3 px wide", lambda size: scratched(size, 3000)),
    "print": Kind("40 long scratches that cross, 1 to 5 px wide, and 12 spots of 10 to 30 px", damaged, 2.0),
    "line": Kind("a line of 20,000 px, 1 px wide", zigzag),
    "salt": Kind("single pixels, 0.1 %", salt, 1.5),
}


def filled(photograph: Image.Image, kind: Kind, painter: Inpainter) -> tuple[dict[str, Any], list[Image.Image]]:
    """Damage a photograph and fill it: the figures; and the scan, the result, and the photograph."""
    if kind.megapixels is not None:
        ratio = math.sqrt(kind.megapixels * 1e6 / (photograph.width * photograph.height))
        size = round(photograph.width * ratio), round(photograph.height * ratio)
        photograph = photograph.resize(size, Image.Resampling.LANCZOS)
    mask = kind.draw(photograph.size)
    scan = Image.composite(Image.new("RGB", photograph.size, "white"), photograph, mask)
    with PeakMemory(painter.device) as memory:
        started = time.perf_counter()
        result = painter(scan, mask)
        seconds = time.perf_counter() - started
    found, truth = (torch.from_numpy(np.array(x)).permute(2, 0, 1) / 255 for x in (result, photograph))
    hole = torch.from_numpy(np.array(mask) > 0)
    figures = {"text": kind.text, "photograph": photograph.size, "share_of_pixels": hole.float().mean().item()}
    figures |= {"seconds": seconds, "extra_bytes": memory.extra_bytes, "psnr_db": psnr(found, truth, hole)}
    return figures, [scan, result, photograph]


def main(
    photo: Annotated[Path, typer.Argument(help="A photograph.")],
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")],
    kind: Annotated[list[str] | None, typer.Option(help="Which kinds; by default all.")] = None,
    rounds: Annotated[int, typer.Option(help="Times that each is filled; the median counts.")] = 3,
    picture: Annotated[Path | None, typer.Option(help="Where to show details of scan, result and photograph.")] = None,
) -> None:
    original = Image.open(photo).convert("RGB")
    painter = Inpainter()
    sheet = Image.new("RGB", (3 * DETAIL, len(DETAILS) * DETAIL))
    fills = {}
    for name in kind or KINDS:
        runs = []
        for _ in range(rounds):
            found, images = filled(original, KINDS[name], painter)
            runs.append(found)
        seconds = [run["seconds"] for run in runs]
        fills[name] = runs[0] | {"seconds": median(seconds), "min_to_max": [min(seconds), max(seconds)]}
        print(name, {key: value for key, value in fills[name].items() if key != "text"}, flush=True)
        for row, (wanted, x, y) in enumerate(DETAILS):
            if wanted == name:
                for column, each in enumerate(images):
                    sheet.paste(each.crop((x, y, x + DETAIL, y + DETAIL)), (DETAIL * column, DETAIL * row))
    out.write_text(json.dumps({"machine": machine_info(), "fills": fills}, indent=1) + "\n")
    if picture:
        sheet.save(picture, quality=88)


if __name__ == "__main__":
    typer.run(main)
