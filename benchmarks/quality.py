"""Quality and time of whole fills, on photographs with a centred square hole cut out.

    python benchmarks/quality.py PHOTOS --hole 256 --out results.json \
        --variant "default" --variant "once: rematch_every=0" --sheet fills.jpg

A variant is a name and options of `InpaintConfig`. Beside them, in the same run: the content networks alone, OpenCV's
Telea, and PyPatchMatch where it is installed. PSNR falls as sharpness rises, so the two are reported together:
`sharpness` is the mean gradient magnitude inside the hole relative to the original's.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from neuralpatch_cuda import InpaintConfig, Inpainter
from neuralpatch_cuda.evaluation.figures import contact_sheet
from neuralpatch_cuda.evaluation.metrics import gradient_magnitude, psnr
from neuralpatch_cuda.synthesis.pyramid import resize
from neuralpatch_cuda.training.data import PhotoSource

Pixels = NDArray[np.uint8]
Fill = Callable[[Pixels, NDArray[np.bool_]], Pixels]


def parse_variant(text: str) -> tuple[str, dict[str, Any]]:
    name, _, options = text.partition(":")
    return name.strip(), dict(pair.split("=", 1) for pair in options.split())


def content_network_alone(painter: Inpainter) -> Fill:
    def fill(image: Pixels, mask: NDArray[np.bool_]) -> Pixels:
        pixels, hole = torch.from_numpy(image).permute(2, 0, 1) / 255, torch.from_numpy(mask)
        guess = resize(painter.predict_content(pixels, hole), mask.shape).clamp(0, 1)
        out = torch.where(hole, guess, pixels)
        return (out * 255).round().byte().permute(1, 2, 0).numpy()

    return fill


def peers() -> dict[str, Fill]:
    found: dict[str, Fill] = {}
    try:
        import cv2

        found["OpenCV Telea, radius 5"] = lambda image, mask: cv2.inpaint(
            image, mask.astype(np.uint8), 5, cv2.INPAINT_TELEA
        )
    except ImportError:
        pass
    try:
        import patchmatch

        found["PyPatchMatch, patch 5"] = lambda image, mask: patchmatch.inpaint(
            image, mask.astype(np.uint8)[..., None], patch_size=5
        )
    except ImportError:
        pass
    return found


def measure(fill: Fill, image: Pixels, mask: NDArray[np.bool_]) -> tuple[dict[str, float], Pixels]:
    holed = image.copy()
    holed[mask] = 0
    started = time.perf_counter()
    filled = fill(holed, mask)
    seconds = time.perf_counter() - started
    assert (filled[~mask] == image[~mask]).all(), "pixels outside the hole changed"
    result, truth = (torch.from_numpy(x).permute(2, 0, 1) / 255 for x in (filled, image))
    hole = torch.from_numpy(mask)
    record = {
        "psnr_db": psnr(result, truth, hole),
        "l1_percent": 100 * float((result - truth)[:, hole].abs().mean()),
        "sharpness": gradient_magnitude(result, hole) / gradient_magnitude(truth, hole),
        "seconds": seconds,
    }
    return record, filled


def centre_square(photo: Image.Image, side: int) -> Pixels:
    return np.array(ImageOps.fit(photo, (side, side), Image.Resampling.LANCZOS))  # as it is if it has that size


def main(
    photos: Annotated[list[Path], typer.Argument(help="Photographs, or folders or tar files of them.")],
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")],
    variant: Annotated[list[str], typer.Option(help='"NAME: option=value ...".')] = ["default"],  # noqa: B006
    side: Annotated[int, typer.Option(help="Photographs are cut to their centre square, of this side.")] = 512,
    hole: Annotated[int, typer.Option(help="Side of the hole in pixels.")] = 256,
    pictures: Annotated[Path | None, typer.Option(help="Folder for the filled photographs.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Where to write all fills side by side.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use only so many photographs.")] = None,
) -> None:
    source = PhotoSource(photos, side, limit)
    names = [Path(photo.name).stem for photo in source.photos]
    originals = [centre_square(source.load(i), side) for i in range(len(source))]
    mask = np.zeros((side, side), np.bool_)
    start = (side - hole) // 2
    mask[start : start + hole, start : start + hole] = True
    methods: dict[str, Fill] = {}
    variants = [parse_variant(text) for text in variant]
    for name, options in variants:
        painter = Inpainter(InpaintConfig(**options))
        methods[name] = painter
        network = Path(str(painter.config.content_network)).stem
        methods.setdefault(f"content network {network} alone", content_network_alone(painter))
    methods |= peers()

    results: dict[str, list[dict[str, Any]]] = {}
    columns: dict[str, list[Pixels]] = {"known": [np.where(mask[..., None], np.uint8(128), x) for x in originals]}
    for name, fill in methods.items():
        records, fills = zip(*(measure(fill, image, mask) for image in originals), strict=True)
        results[name] = [{"photo": photo} | record for photo, record in zip(names, records, strict=True)]
        columns[name] = list(fills)
        print(name, summary(results[name]), flush=True)
        if pictures:
            (pictures / name).mkdir(parents=True, exist_ok=True)
            for photo, filled in zip(names, fills, strict=True):
                Image.fromarray(filled).save(pictures / name / f"{photo}.png")
    columns["photograph"] = originals
    if sheet:
        tiles = [Image.fromarray(pixels) for row in zip(*columns.values(), strict=True) for pixels in row]
        contact_sheet(tiles, list(columns) * len(names), len(columns), 320).save(sheet, quality=88)

    report = {
        "hole_px": hole,
        "photographs": len(names),
        "machine": f"{cpu_name()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "variants": {name: {key: Path(value).name for key, value in options.items()} for name, options in variants},
        "summary": {name: summary(records) for name, records in results.items()},
        "results": results,
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    table = Table("fill", "PSNR dB", "L1 %", "sharpness", "median s", title=report["machine"])
    for name, row in report["summary"].items():
        table.add_row(name, *(f"{row[k]:.2f}" for k in ("psnr_db", "l1_percent", "sharpness", "seconds")))
    Console().print(table)


def summary(records: list[dict[str, Any]]) -> dict[str, float]:
    return {
        **{key: round(mean(r[key] for r in records), 4) for key in ("psnr_db", "l1_percent", "sharpness")},
        "seconds": round(median(r["seconds"] for r in records), 2),
    }


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    typer.run(main)
