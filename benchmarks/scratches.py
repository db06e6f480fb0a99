"""A scan with thousands of scratches, made from a photograph and restored: `python -m benchmarks.scratches PHOTO`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image, ImageDraw

from benchmarks.machine import machine_info
from neuralpatch_cuda import Inpainter
from neuralpatch_cuda.evaluation.metrics import psnr


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


def main(
    photo: Annotated[Path, typer.Argument(help="A photograph.")],
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")],
    count: Annotated[int, typer.Option(help="Number of scratches.")] = 3000,
    picture: Annotated[Path | None, typer.Option(help="Where to show details of scan, result and photograph.")] = None,
) -> None:
    original = Image.open(photo).convert("RGB")
    mask = scratched(original.size, count)
    scan = Image.composite(Image.new("RGB", original.size, "white"), original, mask)
    painter = Inpainter()
    started = time.perf_counter()
    filled = painter(scan, mask)
    seconds = time.perf_counter() - started
    result, truth = (torch.from_numpy(np.array(x)).permute(2, 0, 1) / 255 for x in (filled, original))
    hole = torch.from_numpy(np.array(mask) > 127)
    report: dict[str, Any] = {"machine": machine_info(), "photograph": original.size, "scratches": count}
    report |= {"share_of_pixels": hole.float().mean().item(), "seconds": seconds, "psnr_db": psnr(result, truth, hole)}
    print({name: value for name, value in report.items() if name != "machine"})
    out.write_text(json.dumps(report, indent=1) + "\n")
    if picture:
        sheet = Image.new("RGB", (1500, 1000))
        for row, (x, y) in enumerate(((1300, 1400), (400, 200))):
            for column, each in enumerate((scan, filled, original)):
                sheet.paste(each.crop((x, y, x + 500, y + 500)), (500 * column, 500 * row))
        sheet.save(picture, quality=88)


if __name__ == "__main__":
    typer.run(main)
