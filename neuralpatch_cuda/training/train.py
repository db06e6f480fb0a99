"""Training of the content network with an L2 loss on the hole."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from neuralpatch_cuda.evaluation.metrics import psnr
from neuralpatch_cuda.networks.content import CONTENT_SIDE, ContentConfig, ContentNetwork
from neuralpatch_cuda.networks.weights import save_content_network
from neuralpatch_cuda.training.data import HoleDataset, PhotoSource

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the outcome of a training run, besides the data."""

    samples: int = 160_000
    """Photographs seen in all, repeats included."""
    batch_size: int = 32
    """Photographs per step and process."""
    learning_rate: float = 8e-4
    """Peak of the one-cycle cosine schedule."""
    ema_decay: float = 0.999
    """Decay per step of the running average of the weights; the average is what is validated and saved."""
    seed: int = 0
    workers: int = 1
    """Processes that decode photographs."""
    checkpoint_steps: int = 500
    """Steps between two checkpoints, each with a validation pass."""


def hole_loss(prediction: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Mean over images of the mean squared error inside the hole; `[B, 3, H, W]` twice and `[B, 1, H, W]`."""
    error = (prediction.float() - image).square().mean(1, keepdim=True) * mask
    return (error.sum((1, 2, 3)) / mask.sum((1, 2, 3))).mean()


@torch.no_grad()
def move_average(decay: float, average: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
    """Exponential moving average, with a smaller decay at first, so that the random start is soon forgotten."""
    torch._foreach_lerp_(average, current, 1 - min(decay, (1 + float(updates)) / (10 + float(updates))))


@torch.no_grad()
def validate(network: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]], device: torch.device) -> float:
    """Mean over images of the PSNR inside the hole, in dB."""
    values: list[float] = []
    for image, mask in loader:
        filled = network(image.to(device), mask.to(device)).clamp(0, 1).cpu()
        values += [psnr(f, i, m[0] > 0) for f, i, m in zip(filled, image, mask, strict=True)]
    return sum(values) / len(values)


def train(
    data: Sequence[Path],
    validation: Sequence[Path],
    run: Path,
    config: TrainConfig | None = None,
    network_config: ContentConfig | None = None,
) -> Path:
    """Train a content network, resuming from the last checkpoint in `run` if there is one.

    Args:
        data: folders or uncompressed tar files of photographs.
        validation: the same, held out; the PSNR of the centre hole is logged at every checkpoint.
        run: folder for checkpoints, `metrics.jsonl` and the resulting `content.safetensors`.

    Returns:
        The path of the weights file.
    """
    config = config or TrainConfig()
    # The seedable sampler's order depends on the epoch alone, so that a resumed epoch goes on in the same order.
    accelerator = Accelerator(
        mixed_precision="bf16", dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True)
    )
    set_seed(config.seed)
    train_set = HoleDataset(PhotoSource(data), CONTENT_SIDE, train=True, seed=config.seed)
    network: nn.Module = ContentNetwork(network_config)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=0.01)
    steps = max(1, config.samples // (config.batch_size * accelerator.num_processes))
    schedule = OneCycleLR(optimizer, config.learning_rate, total_steps=steps + 1, pct_start=0.05)
    # No worker survives an epoch: each one starts with the data set's new epoch number, hence new crops and holes.
    loader = DataLoader(train_set, config.batch_size, shuffle=True, drop_last=True, num_workers=config.workers)
    held_out = DataLoader(HoleDataset(PhotoSource(validation), CONTENT_SIDE, train=False), 64)
    average = AveragedModel(network, multi_avg_fn=partial(move_average, config.ema_decay))
    network, optimizer, loader = accelerator.prepare(network, optimizer, loader)
    progress = Progress()
    accelerator.register_for_checkpointing(schedule, average, progress)

    state = run / "state"
    if state.is_dir():
        accelerator.load_state(str(state))
        log.info("resumed at step %d of %d", progress.step, steps)
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
    weights = run / "content.safetensors"

    network.train()
    while progress.step < steps:
        for image, mask in epoch(accelerator, loader, train_set, progress):
            loss = hole_loss(network(image.contiguous(memory_format=torch.channels_last), mask), image, mask)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            average.update_parameters(accelerator.unwrap_model(network))
            progress.step += 1
            progress.batch += 1
            progress.loss += 0.02 * (float(loss.detach()) - progress.loss)
            if progress.step % 50 == 0:
                log.info("step %d/%d loss %.5f", progress.step, steps, progress.loss)
            if progress.step % config.checkpoint_steps == 0 or progress.step == steps:
                accelerator.save_state(str(state))
                if accelerator.is_main_process:
                    score = validate(average.module, held_out, accelerator.device)
                    record = {"step": progress.step, "loss": progress.loss, "psnr_centre": score}
                    with (run / "metrics.jsonl").open("a") as file:
                        file.write(json.dumps(record) + "\n")
                    log.info("step %d: validation PSNR %.3f dB", progress.step, score)
                    save_content_network(cast(ContentNetwork, average.module), weights)
            if progress.step == steps:
                break
        else:
            progress.epoch, progress.batch = progress.epoch + 1, 0
    return weights


class Progress:
    """Where a run stands; saved with every checkpoint."""

    def __init__(self) -> None:
        self.step = self.epoch = self.batch = 0
        self.loss = 0.0

    def state_dict(self) -> dict[str, float]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, float]) -> None:
        vars(self).update(state)


def epoch(
    accelerator: Accelerator,
    loader: DataLoader[tuple[Tensor, Tensor]],
    dataset: HoleDataset,
    progress: Progress,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of the current epoch that have not been seen yet."""
    dataset.epoch = progress.epoch
    if hasattr(loader, "set_epoch"):
        loader.set_epoch(progress.epoch)
    yield from accelerator.skip_first_batches(loader, progress.batch) if progress.batch else loader
