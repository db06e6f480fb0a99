"""Curves of training runs, from their TensorBoard logs: `python -m benchmarks.plot_training NAME=RUN --out FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import typer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PANELS = {
    "train/l2": "squared error in training",
    "validation_centre/psnr_db": "PSNR of held-out centre holes, dB",
    "validation_thick/psnr_db": "PSNR of held-out thick holes, dB",
    "validation_centre/sharpness": "sharpness of held-out centre holes",
    "train/adversarial": "adversarial loss of the generator",
    "train/discriminator": "loss of the discriminator",
}


def main(
    run: Annotated[list[str], typer.Argument(metavar="NAME=RUN...", help="Names and folders of training runs.")],
    out: Annotated[Path, typer.Option(help="PNG file.")],
) -> None:
    logs = {}
    for text in run:
        name, _, folder = text.partition("=")
        logs[name] = EventAccumulator(str(Path(folder) / "logs"))
        logs[name].Reload()
    shown = [tag for tag in PANELS if any(tag in log.Tags()["scalars"] for log in logs.values())]
    figure, axes = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3.2), layout="constrained", squeeze=False)
    for tag, axis in zip(shown, axes[0], strict=True):
        for name, log in logs.items():
            if tag in log.Tags()["scalars"]:
                steps, values = zip(*((event.step, event.value) for event in log.Scalars(tag)), strict=True)
                axis.plot(steps, values, label=name, marker="." if len(steps) < 20 else None)
        axis.set(title=PANELS[tag], xlabel="step")
        axis.grid(alpha=0.3)
    axes[0][0].legend()
    figure.savefig(out, dpi=80)


if __name__ == "__main__":
    typer.run(main)
