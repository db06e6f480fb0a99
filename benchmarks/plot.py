"""Draws time and memory against the size of the problem: `python benchmarks/plot.py [FOLDER] [--out docs/images]`.

For every NAME.json in FOLDER, a device's folder of benchmarks/results (all of them by default), NAME-DEVICE.png with
logarithmic axes: a line for each function, with the slope of the straight line fitted to its three largest sizes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

HERE = Path(__file__).resolve().parent
SIZES = {
    "match": "query patches x key patches, C = 256",
    "refine": "query patches, C = 256",
    "vote": "pixels of the target, C = 256",
    "texture": "pixels of the feature map, C = 256",
    "variation": "pixels of the image",
    "extract": "pixels of the feature map, C = 256",
}
LEAST_BYTES = 1e5
"""Below this, the growth of a process's memory is not told from nothing."""

Series = dict[str, list[tuple[float, float]]]
"""(size, value) in ascending order, by function."""


def series(benchmarks: Sequence[dict[str, Any]], precision: str) -> tuple[Series, Series]:
    """Seconds, and extra bytes."""
    seconds, extra_bytes = defaultdict(list), defaultdict(list)
    for benchmark in sorted(benchmarks, key=lambda b: b["extra_info"].get("size", 0)):
        info = benchmark["extra_info"]
        if not info.get("size") or (info["precision"] == "bf16") != (precision == "bf16"):
            continue
        name = info["function"] + (" (tf32)" if info["precision"] == "tf32" else "")
        seconds[name].append((info["size"], benchmark["stats"]["median"]))
        if (info["extra_bytes"] or 0) >= LEAST_BYTES:
            extra_bytes[name].append((info["size"], info["extra_bytes"]))
    return seconds, extra_bytes


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line through the logarithms of the last three points."""
    x, y = np.log(points[-3:]).T
    return float(np.polyfit(x, y, 1)[0])


def draw_lines(axes: Axes, lines: Series, colours: dict[str, str]) -> None:
    for name, points in lines.items():
        label = f"{name}: {slope(points):.2f}" if len(points) > 1 else name
        ours = name.startswith("op")
        axes.plot(*zip(*points, strict=True), "o-", color=colours[name], label=label, lw=2.5 if ours else 1.2, ms=4)
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_minor_formatter(NullFormatter())  # its labels would overlap
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(fontsize=7, title="slope", title_fontsize=7, framealpha=0.5)


def draw(results: dict[str, Any], name: str, path: Path) -> bool:
    """Writes the picture; False if nothing in the results has a size."""
    benchmarks = results["benchmarks"]
    device = "cuda" if any(b["extra_info"].get("device") == "cuda" for b in benchmarks) else "cpu"
    benchmarks = [b for b in benchmarks if b["extra_info"].get("device") == device and "small" not in b["name"]]
    drawn = {precision: series(benchmarks, precision) for precision in ("fp32", "bf16")}
    names = dict.fromkeys(name for lines, _ in drawn.values() for name in lines)
    if not names:
        return False
    colours = dict(zip(names, plt.get_cmap("tab10").colors, strict=False))

    figure, grid = plt.subplots(2, 2, figsize=(9.5, 7.5), sharex=True, sharey="row", layout="constrained")
    figure.suptitle(f"{name}, {results['machine_info']['device']}, PyTorch {results['machine_info']['torch']}")
    for column, (precision, (seconds, extra_bytes)) in enumerate(drawn.items()):
        draw_lines(grid[0, column], seconds, colours)
        draw_lines(grid[1, column], {n: [(x, y / 1e6) for x, y in p] for n, p in extra_bytes.items()}, colours)
        grid[0, column].set_title(precision)
        grid[1, column].set_xlabel(SIZES.get(name, "size"))
    grid[0, 0].set_ylabel("seconds, median")
    grid[1, 0].set_ylabel("extra memory, MB")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draws time and memory against the size of the problem.")
    parser.add_argument("folder", type=Path, nargs="*", help="a device's results; by default all of benchmarks/results")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "images", help="default: docs/images")
    options = parser.parse_args(arguments)
    folders = options.folder or [path for path in (HERE / "results").iterdir() if path.is_dir()]
    drawn = 0
    for file in sorted(path for folder in folders for path in folder.glob("*.json")):
        results = json.loads(file.read_text())
        path = options.out / f"{file.stem}-{file.parent.name}.png"
        if "benchmarks" in results and draw(results, file.stem, path):
            drawn += 1
            print(path)
    if not drawn:
        print("There is nothing to draw: run `make bench` first.", file=sys.stderr)
    return 0 if drawn else 1


if __name__ == "__main__":
    sys.exit(main())
