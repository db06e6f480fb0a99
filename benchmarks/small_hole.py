"""A small hole in a large photograph beside the same hole in its window alone: `python -m benchmarks.small_hole PHOTO`.

The photograph is cut to 4,000 x 3,000 px where it is larger. Medians of five, in turn; the file is read before.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from benchmarks.machine import machine_info
from neuralpatch_cuda import Inpainter
from neuralpatch_cuda.synthesis.windows import find_windows


def main(
    photo: Annotated[Path, typer.Argument(help="A photograph of at least 12 megapixels.")],
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")],
    hole: Annotated[int, typer.Option(help="Side of the hole in pixels.")] = 96,
) -> None:
    image = np.asarray(Image.open(photo).convert("RGB"))[:3000, :4000]
    mask = np.zeros(image.shape[:2], np.bool_)
    top, left = (side // 2 for side in mask.shape)
    mask[top : top + hole, left : left + hole] = True
    painter = Inpainter()
    (window,) = find_windows(torch.from_numpy(mask), painter.config.context)
    rows, columns = window.box.slices
    cases: dict[str, tuple[Any, Any]] = {
        "photograph": (image, mask),
        "window": (image[rows, columns].copy(), mask[rows, columns].copy()),
    }
    filled = {name: painter(*case) for name, case in cases.items()}  # the first call of each is not timed
    assert (filled["photograph"][rows, columns] == filled["window"]).all(), "the results differ"
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(5):
        for name, case in cases.items():
            started = time.perf_counter()
            painter(*case)
            seconds[name].append(time.perf_counter() - started)
    report: dict[str, Any] = {"machine": machine_info(), "photograph": image.shape[:2], "hole_px": hole}
    report |= {"seconds": {name: [round(each, 3) for each in values] for name, values in seconds.items()}}
    report["ratio"] = median(seconds["photograph"]) / median(seconds["window"])
    print(report["seconds"], f"ratio {report['ratio']:.3f}")
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
