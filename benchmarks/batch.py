"""`neuralpatch batch` beside the single command in a loop: `python -m benchmarks.batch PHOTO --out batch.json`.

Crops of a photograph, each with a centred hole. In turn, several times:

    loop      one `neuralpatch inpaint` after the other
    batch     `neuralpatch batch`, one process
    solve     the same holes filled in one process, with everything read before and nothing written
    jobs 1    `neuralpatch batch --jobs 1`: on a processor, two photographs are filled at once by default
    devices   `neuralpatch batch --devices cpu,cpu` (not with a GPU)
    ray 1, 2  `neuralpatch batch --engine ray`, with so many workers of one core

Seconds are of the whole command; per item, from the first that is done to the last, by the journal.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from benchmarks.holes import centred_hole
from benchmarks.machine import DEVICES, machine_info
from neuralpatch_cuda.batch.journal import read_journals

COMMAND = [sys.executable, "-m", "neuralpatch_cuda.cli"]


def make_items(photo: Path, folder: Path, count: int, side: int, hole: int) -> None:
    image = Image.open(photo).convert("RGB")
    rng = np.random.default_rng(0)
    (folder / "in").mkdir()
    for index in range(count):
        left, top = (int(rng.integers(0, length - side)) for length in image.size)
        image.crop((left, top, left + side, top + side)).save(folder / "in" / f"{index:03d}.png")
    Image.fromarray(centred_hole(side, side, hole)).save(folder / "mask.png")


def timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def loop(folder: Path, output: Path) -> None:
    output.mkdir()
    for path in sorted((folder / "in").iterdir()):
        files = [str(path), str(folder / "mask.png"), "-o", str(output / path.name)]
        subprocess.run([*COMMAND, "inpaint", "-q", *files], check=True)


def batch(folder: Path, output: Path, *options: str) -> None:
    files = ["--image", str(folder / "in"), "--mask", str(folder / "mask.png"), "-o", str(output)]
    subprocess.run([*COMMAND, "batch", "-q", *files, *options], check=True, stdout=subprocess.DEVNULL)


def solve(folder: Path) -> float:
    """Seconds in a process of its own, from the first photograph on."""
    code = (
        "import sys, time; from pathlib import Path; from PIL import Image; from neuralpatch_cuda import Inpainter\n"
        "folder = Path(sys.argv[1]); mask = Image.open(folder / 'mask.png'); mask.load()\n"
        "images = [Image.open(path) for path in sorted((folder / 'in').iterdir())]; [i.load() for i in images]\n"
        "painter = Inpainter(); started = time.perf_counter()\n"
        "for image in images: painter(image, mask)\n"
        "print(time.perf_counter() - started)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True)
    return float(result.stdout)


def between_ends(output: Path) -> float:
    """Seconds per item by the journal, from the first one done to the last."""
    ends = sorted(datetime.fromisoformat(state.time) for state in read_journals(output).values())
    return (ends[-1] - ends[0]).total_seconds() / (len(ends) - 1)


def main(
    photo: Annotated[Path, typer.Argument(help="A photograph larger than the items.")],
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")],
    count: Annotated[int, typer.Option(help="Items.")] = 50,
    side: Annotated[int, typer.Option(help="Of each item, in pixels.")] = 512,
    hole: Annotated[int, typer.Option(help="Side of the hole in pixels.")] = 48,
    rounds: Annotated[int, typer.Option(help="Times that all is done.")] = 3,
    ray: Annotated[bool, typer.Option(help="Also measure Ray.")] = True,
) -> None:
    seconds: dict[str, list[float]] = {}
    per_item: dict[str, list[float]] = {}
    for _ in range(rounds):
        with TemporaryDirectory() as name:
            folder = Path(name)
            make_items(photo, folder, count, side, hole)

            def add(label: str, value: float) -> None:
                seconds.setdefault(label, []).append(round(value, 3))
                print(f"{label:12}{value:8.1f} s", flush=True)

            def add_batch(label: str, *options: str, folder: Path = folder) -> None:
                output = folder / label.replace(" ", "-")
                add(label, timed(lambda: batch(folder, output, *options)))
                per_item.setdefault(label, []).append(round(between_ends(output), 4))

            add("loop", timed(lambda folder=folder: loop(folder, folder / "loop")))
            add_batch("batch")
            add("solve", solve(folder))
            add_batch("jobs 1", "--jobs", "1")
            if DEVICES == ["cpu"]:
                add_batch("devices", "--devices", "cpu,cpu")
            for workers in (1, 2) if ray else ():
                add_batch(f"ray {workers}", "--engine", "ray", "--workers", str(workers))
    report: dict[str, Any] = {"machine": machine_info(), "items": count, "side_px": side, "hole_px": hole}
    report |= {"seconds": seconds, "seconds_per_item_without_start": per_item}
    middle = {label: median(values) for label, values in seconds.items()}
    ratios = {"loop_over_batch": ("loop", "batch"), "batch_over_solve": ("batch", "solve")}
    report |= {name: round(middle[one] / middle[other], 3) for name, (one, other) in ratios.items()}
    print({name: report[name] for name in ratios})
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
