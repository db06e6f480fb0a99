"""How well content networks fill holes of every kind in held-out photographs of 128 px, and what that looks like.

    python -m benchmarks.content HELD_OUT.tar --network content-l2 --network exemplar --out results.json \
        --photo a.jpg --photo b.jpg --sheet predictions.jpg

Beside them, in the same run: the mean colour of the known pixels, and OpenCV's Telea where it is installed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.machine import device_name
from neuralpatch_cuda.evaluation.content import Fill, first, prediction_sheet, score
from neuralpatch_cuda.evaluation.methods import known_mean
from neuralpatch_cuda.networks.content import CONTENT_SIDE
from neuralpatch_cuda.synthesis.content import resolve_content_network
from neuralpatch_cuda.training.data import PhotoSource, ValidationDataset
from neuralpatch_cuda.training.masks import MASK_KINDS


def peers() -> dict[str, Fill]:
    found: dict[str, Fill] = {"mean of the known pixels": known_mean}
    try:
        import cv2
    except ImportError:
        return found

    def telea(image: Tensor, mask: Tensor) -> Tensor:
        pixels = (image * 255).round().byte().permute(0, 2, 3, 1).numpy()
        filled = [cv2.inpaint(p, m[0].byte().numpy(), 5, cv2.INPAINT_TELEA) for p, m in zip(pixels, mask, strict=True)]
        return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2) / 255

    return found | {"OpenCV Telea, radius 5": telea}


def milliseconds(fill: Fill) -> float:
    """Median time of filling the centre hole of one image."""
    image, mask = torch.rand(1, 3, CONTENT_SIDE, CONTENT_SIDE), torch.zeros(1, 1, CONTENT_SIDE, CONTENT_SIDE)
    mask[..., 32:96, 32:96] = 1
    times = []
    for _ in range(10):
        started = time.perf_counter()
        fill(image, mask)
        times.append(time.perf_counter() - started)
    return round(1000 * median(times), 1)


@torch.no_grad()
def main(
    held_out: Annotated[list[Path], typer.Argument(help="Folders or tar files of photographs.")],
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")],
    network: Annotated[list[str], typer.Option(help="As --content-network of `neuralpatch inpaint`.")],
    photo: Annotated[list[Path], typer.Option(help="Photographs for the sheet, or folders of them.")] = [],  # noqa: B006
    sheet: Annotated[Path | None, typer.Option(help="Where to write a sheet of predictions.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use only so many held-out photographs.")] = None,
) -> None:
    device = torch.device("cpu")
    networks = {name: resolve_content_network(name) for name in network}
    source = PhotoSource(held_out, CONTENT_SIDE)
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for name, fill in (peers() | networks).items():
        holes = {kind: first(ValidationDataset(source, CONTENT_SIDE, kind), limit) for kind in MASK_KINDS}
        rows[name] = {kind: score(fill, of_kind, device) for kind, of_kind in holes.items()}
        print(name, {kind: row["psnr_db"] for kind, row in rows[name].items()}, flush=True)
    report = {
        "side_px": CONTENT_SIDE,
        "photographs": len(holes["centre"]),
        "machine": f"{device_name()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "milliseconds": {name: milliseconds(fill) for name, fill in networks.items()},
        "results": rows,
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    for measure in ("psnr_db", "sharpness", "ssim", "l1_percent"):
        table = Table("fill", *MASK_KINDS, title=measure)
        for name, row in rows.items():
            table.add_row(name, *(f"{of_kind[measure]:.2f}" for of_kind in row.values()))
        Console().print(table)
    if sheet is not None:
        shown = ValidationDataset(PhotoSource(photo, CONTENT_SIDE), CONTENT_SIDE, "centre")
        prediction_sheet(networks, first(shown, None), device).save(sheet, quality=90)


if __name__ == "__main__":
    typer.run(main)
