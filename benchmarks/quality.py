"""Quality and time of whole fills, on photographs with a centred square hole cut out.

    python benchmarks/quality.py PHOTOS --hole 256 --out results.json \
        --variant "default" --variant "once: rematch_every=0"

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
from PIL import Image
from rich.console import Console
from rich.table import Table

from neuralpatch_cuda import InpaintConfig, Inpainter
from neuralpatch_cuda.evaluation.metrics import gradient_magnitude, psnr
from neuralpatch_cuda.synthesis.pyramid import resize

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


def main(
    photos: Path,
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")],
    variant: Annotated[list[str], typer.Option(help='"NAME: option=value ...".')] = ["default"],  # noqa: B006
    hole: Annotated[int, typer.Option(help="Side of the hole in pixels.")] = 256,
    pictures: Annotated[Path | None, typer.Option(help="Folder for the filled photographs.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use only so many photographs.")] = None,
) -> None:
    files = sorted(photos.glob("*.png"))[:limit]
    methods: dict[str, Fill] = {}
    for text in variant:
        name, options = parse_variant(text)
        painter = Inpainter(InpaintConfig(**options))
        methods[name] = painter
        methods.setdefault(f"content network {painter.config.content_network} alone", content_network_alone(painter))
    methods |= peers()

    results: dict[str, list[dict[str, float]]] = {}
    for name, fill in methods.items():
        results[name] = []
        for file in files:
            image = np.array(Image.open(file).convert("RGB"))
            mask = np.zeros(image.shape[:2], np.bool_)
            top, left = ((n - hole) // 2 for n in mask.shape)
            mask[top : top + hole, left : left + hole] = True
            record, filled = measure(fill, image, mask)
            results[name].append({"photo": file.stem} | record)  # type: ignore[dict-item]
            if pictures:
                (pictures / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(filled).save(pictures / name / file.name)
        print(name, summary(results[name]), flush=True)

    report = {
        "hole_px": hole,
        "photographs": len(files),
        "machine": f"{cpu_name()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "variants": dict(map(parse_variant, variant)),
        "summary": {name: summary(records) for name, records in results.items()},
        "results": results,
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    table = Table("fill", "PSNR dB", "L1 %", "sharpness", "median s", title=report["machine"])
    for name, row in report["summary"].items():
        table.add_row(name, *(f"{row[k]:.2f}" for k in ("psnr_db", "l1_percent", "sharpness", "seconds")))
    Console().print(table)


def summary(records: list[dict[str, float]]) -> dict[str, float]:
    return {
        **{key: round(mean(r[key] for r in records), 4) for key in ("psnr_db", "l1_percent", "sharpness")},
        "seconds": round(median(r["seconds"] for r in records), 2),
    }


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    typer.run(main)
