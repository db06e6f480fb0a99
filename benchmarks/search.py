"""PatchMatch beside the exact search, on the features that a fill comes by.

    python -m benchmarks.search PHOTO --hole 1024 --out results.json

One fill with `search=patchmatch`; at every matching, the exact search is asked the same. Of each scale and layer: the
mean scores, their ratio, and the seconds of both, medians over the scale's matchings.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from torch import Tensor

from benchmarks.holes import centred_hole
from benchmarks.machine import machine_info
from neuralpatch_cuda import InpaintConfig, Inpainter
from neuralpatch_cuda.synthesis import search
from neuralpatch_cuda.synthesis.layout import Layout, Matches


class Compared(search.PatchMatch):
    """PatchMatch, which notes how far it is from the best."""

    notes: list[dict[str, Any]]

    def __init__(self, layout: Layout, coarser: Matches | None, seed: int) -> None:
        super().__init__(layout, coarser, seed)
        self.first = True

    def __call__(self, query: Tensor, keys: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        started = time.perf_counter()
        index, score = super().__call__(query, keys)
        middle = time.perf_counter()
        _, best = search.match_exactly(self._layout, query, keys)
        ended = time.perf_counter()
        note = {"queries": len(index), "keys": sum(int(mask.sum()) for mask in self._layout.key_masks)}
        note |= {"channels": len(query), "first": self.first, "score": score.mean().item(), "exact": best.mean().item()}
        self.notes.append(note | {"seconds": middle - started, "exact_seconds": ended - middle})
        self.first = False
        return index, score


def main(
    photo: Annotated[Path, typer.Argument(help="A photograph; its centre is filled.")],
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")],
    hole: Annotated[int, typer.Option(help="Side of the hole in pixels.")] = 1024,
    option: Annotated[list[str], typer.Option(help="option=value of InpaintConfig.")] = [],  # noqa: B006
) -> None:
    image = Image.open(photo).convert("RGB")
    mask = centred_hole(image.height, image.width, hole)
    Compared.notes = []
    search.PatchMatch = Compared  # type: ignore[misc]
    options = dict(pair.split("=", 1) for pair in option)
    result = Inpainter(InpaintConfig(search="patchmatch", **options))(image, mask, return_info=True)

    rows, notes = [], iter(Compared.notes)
    for scale in result.info.scales:
        of_layer: dict[str, list[dict[str, Any]]] = {layer: [] for layer in scale.layers}
        for _ in scale.scores:
            for layer in scale.layers:
                of_layer[layer].append(next(notes))
        for layer, found in of_layer.items():
            if not found:
                continue
            row: dict[str, Any] = {"window": list(scale.size), "layer": layer}
            row |= {name: found[0][name] for name in ("queries", "keys", "channels")}
            row["score_ratio"] = mean(note["score"] for note in found) / mean(note["exact"] for note in found)
            row["first_ratio"] = found[0]["score"] / found[0]["exact"]
            row["last_ratio"] = found[-1]["score"] / found[-1]["exact"]
            row["first_seconds"], row["seconds"] = found[0]["seconds"], median(x["seconds"] for x in found[1:] or found)
            row["exact_seconds"] = median(note["exact_seconds"] for note in found)
            row["times_faster"] = sum(x["exact_seconds"] for x in found) / sum(x["seconds"] for x in found)
            rows.append(row)
            print(row, flush=True)
    report = {"hole_px": hole, "threads": torch.get_num_threads(), "machine": machine_info(), "rows": rows}
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
