"""Time and memory of whole fills against the side of the hole. On the CPU, each in a process of its own.

    python -m benchmarks.high_resolution PHOTO --hole 128 --hole 256 --budget 1GB --out results.json

A square hole in the centre of the photograph; the content network and the file are read before. `added_mb` is what the
fill adds to the resident set at its peak.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image

from benchmarks.holes import centred_hole
from benchmarks.machine import machine_info
from benchmarks.measure import timed_with_memory
from neuralpatch_cuda import InpaintConfig, Inpainter, InpaintResult

Image.MAX_IMAGE_PIXELS = None

app = typer.Typer(add_completion=False)


@app.command()
def one(photo: Path, hole: int, options: str, picture: str = "") -> None:
    """One fill; prints its figures."""
    image = Image.open(photo).convert("RGB")
    mask = centred_hole(image.height, image.width, hole)
    painter = Inpainter(InpaintConfig(**json.loads(options)))
    results: list[InpaintResult[Image.Image]] = []
    seconds, added = timed_with_memory(lambda: results.append(painter(image, mask, return_info=True)), "cpu")
    if picture:
        results[0].image.save(picture)
    scales = [
        {"window": list(scale.size), "seconds": round(scale.seconds, 2), "iterations": len(scale.losses)}
        for scale in results[0].info.scales
    ]
    print(json.dumps({"seconds": round(seconds, 2), "added_mb": round((added or 0) / 1e6), "scales": scales}))


@app.command()
def all(
    photo: Annotated[Path, typer.Argument(help="A photograph, at least twice as large as the largest hole.")],
    out: Annotated[Path, typer.Option(help="JSON file for the figures; new ones are added to those it has.")],
    hole: Annotated[list[int], typer.Option(help="Sides of holes in pixels.")],
    budget: Annotated[list[str], typer.Option(help="Memory budgets; none for the default.")] = ["none"],  # noqa: B006
    option: Annotated[list[str], typer.Option(help="option=value of InpaintConfig.")] = [],  # noqa: B006
    pictures: Annotated[Path | None, typer.Option(help="Folder for the filled photographs.")] = None,
) -> None:
    """Every hole with every budget."""
    rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"] if out.exists() else []
    with Image.open(photo) as image:
        size = image.size
    for side in hole:
        for each in budget:
            options = dict(pair.split("=", 1) for pair in option) | ({} if each == "none" else {"memory_budget": each})
            command = [sys.executable, "-m", "benchmarks.high_resolution", "one", str(photo), str(side)]
            command += [json.dumps(options)]
            if pictures:
                pictures.mkdir(parents=True, exist_ok=True)
                command += ["--picture", str(pictures / f"{side}-{each}.png")]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append({"photo": size, "hole": side, "budget": each, "options": options} | json.loads(done.stdout))
            print({name: value for name, value in rows[-1].items() if name != "scales"}, flush=True)
            report = {"machine": machine_info(), "threads": torch.get_num_threads(), "rows": rows}
            out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    app()
