"""Designs of the content network's trunk, each trained from scratch for the same time on the same photographs.

    python -m benchmarks.content_designs --data PHOTOS.tar --validation HELD_OUT.tar --out results.json

Stem, decoder, width, loss and schedule are the same; only the blocks at 1/8 of the resolution differ, and the faster a
design is, the more photographs it sees.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.machine import device_name
from benchmarks.peers.attention import SelfAttention
from benchmarks.peers.fourier import FourierBlock
from neuralpatch_cuda.networks.content import CONTENT_SIDE, ContentConfig, ContentNetwork
from neuralpatch_cuda.training.config import TrainConfig
from neuralpatch_cuda.training.data import PhotoSource
from neuralpatch_cuda.training.masks import MASK_KINDS
from neuralpatch_cuda.training.train import Trainer


def dilated(width: int) -> list[nn.Module]:
    return list(ContentNetwork(ContentConfig(width)).trunk)


def attentive(width: int) -> list[nn.Module]:
    """The same, self-attention after every second block."""
    blocks = dilated(width)
    for number in (5, 3, 1):
        blocks.insert(number + 1, SelfAttention(width))
    return blocks


def fourier(width: int) -> list[nn.Module]:
    return [FourierBlock(width) for _ in ContentConfig().dilations]


TRUNKS: dict[str, Callable[[int], list[nn.Module]]] = {
    "dilated convolutions": dilated,
    "and self-attention": attentive,
    "Fourier convolutions": fourier,
}


def build(trunk: Callable[[int], list[nn.Module]], width: int) -> ContentNetwork:
    network = ContentNetwork(ContentConfig(width))
    network.trunk = nn.Sequential(*trunk(width))
    return network


def options(steps: int) -> TrainConfig:
    every = 10**9  # validated once, at the end
    return TrainConfig(
        samples=32 * steps,
        learning_rate=2e-3,
        l2=0,
        log_l2=0.02,
        validation_steps=every,
        checkpoint_steps=every,
        workers=0,
    )


def seconds_per_step(network: ContentNetwork, run: Path) -> float:
    """Median of ten training steps, after three."""
    trainer = Trainer(run, options(100), network)
    image, mask = torch.rand(32, 3, CONTENT_SIDE, CONTENT_SIDE), torch.zeros(32, 1, CONTENT_SIDE, CONTENT_SIDE)
    mask[..., 32:96, 32:96] = 1
    image, mask = (each.to(trainer.accelerator.device) for each in (image, mask))
    times = []
    for _ in range(13):
        started = time.perf_counter()
        trainer.step(image, mask)
        times.append(time.perf_counter() - started)
    return median(times[3:])


def main(
    data: Annotated[list[Path], typer.Option(help="Folders or tar files of photographs.")],
    validation: Annotated[list[Path], typer.Option(help="The same, held out.")],
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")],
    seconds: Annotated[float, typer.Option(help="Training time of a design.")] = 600,
    width: Annotated[int, typer.Option(help="Channels of the trunk.")] = 96,
    limit: Annotated[int, typer.Option(help="Held-out photographs.")] = 256,
) -> None:
    source, held_out = PhotoSource(data, CONTENT_SIDE), PhotoSource(validation, CONTENT_SIDE, limit)
    results = {}
    for name, trunk in TRUNKS.items():
        with tempfile.TemporaryDirectory() as folder:
            steps = round(seconds / seconds_per_step(build(trunk, width), Path(folder) / "timed"))
            config = options(steps)
            torch.manual_seed(0)
            network = build(trunk, width)
            trainer = Trainer(Path(folder) / "run", config, network)
            trainer.fit(source, held_out)
            (row,) = map(json.loads, trainer.metrics.read_text().splitlines())
        results[name] = {
            "parameters": sum(p.numel() for p in network.parameters()),
            "samples": row["samples"],
            "psnr_db": {kind: row[kind]["psnr_db"] for kind in MASK_KINDS},
        }
        print(name, results[name], flush=True)
    report = {
        "machine": f"{device_name()}, {torch.get_num_threads()} threads",
        "width": width,
        "seconds": seconds,
        "learning_rate": config.learning_rate,
        "results": results,
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    table = Table("trunk", "M parameters", "samples", *MASK_KINDS, title=report["machine"])
    for name, row in results.items():
        figures = (f"{row['psnr_db'][kind]:.2f}" for kind in MASK_KINDS)
        table.add_row(name, f"{row['parameters'] / 1e6:.2f}", str(row["samples"]), *figures)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
