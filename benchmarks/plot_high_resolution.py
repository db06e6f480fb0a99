"""Draws benchmarks/results/high-resolution.json into docs/images: time and memory against the side of the hole."""

from __future__ import annotations

import json
import math
from pathlib import Path

import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[1]


def slope(sides: list[int], values: list[float]) -> float:
    """Exponent of the values in the number of hole pixels, by least squares of the logarithms."""
    x, y = [2 * math.log(side) for side in sides], [math.log(value) for value in values]
    middle = sum(x) / len(x), sum(y) / len(y)
    pairs = list(zip(x, y, strict=True))
    return sum((a - middle[0]) * (b - middle[1]) for a, b in pairs) / sum((a - middle[0]) ** 2 for a in x)


def main() -> None:
    report = json.loads((ROOT / "benchmarks" / "results" / "high-resolution.json").read_text())
    figure, (time, memory) = plt.subplots(1, 2, figsize=(10, 4))
    for budget in dict.fromkeys(row["budget"] for row in report["rows"]):
        rows = sorted((row for row in report["rows"] if row["budget"] == budget), key=lambda row: row["hole"])
        sides = [row["hole"] for row in rows]
        seconds, added = [row["seconds"] for row in rows], [row["added_mb"] / 1000 for row in rows]
        name = "default" if budget == "none" else budget
        exponent = slope(sides, seconds)
        print(f"{name}: seconds {seconds}, GB {added}, exponent of time in the number of pixels {exponent:.2f}")
        time.loglog(sides, seconds, "o-", label=f"{name}: exponent {exponent:.2f}")
        memory.loglog(sides, added, "o-", label=name)
    shown = ((time, "seconds", (5, 10, 20, 50, 100, 200)), (memory, "memory added, GB", (0.2, 0.5, 1, 2, 4)))
    for axes, label, ticks in shown:
        axes.set_xlabel("side of the hole, px")
        axes.set_ylabel(label)
        axes.set_xticks(sides, [str(side) for side in sides])
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(True, alpha=0.3)
        axes.legend(title="memory budget")
    figure.suptitle(f"{report['machine']['device']}, photograph of 4,096 x 4,096 px")
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "images" / "high-resolution.png", dpi=110)


if __name__ == "__main__":
    main()
