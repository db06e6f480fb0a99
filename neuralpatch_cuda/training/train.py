"""Training of a content network: L2, as Pathak et al. (2016), with any of the losses of `losses.py` beside it."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from pytorch_optimizer import Muon
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from neuralpatch_cuda.device import choose_device, choose_dtype
from neuralpatch_cuda.errors import ConfigError, DataError, NeuralPatchError
from neuralpatch_cuda.evaluation.content import first, prediction_sheet, score
from neuralpatch_cuda.networks.content import CONTENT_SIDE, ContentNetwork
from neuralpatch_cuda.networks.context_encoder import ContextEncoder
from neuralpatch_cuda.networks.discriminator import PatchDiscriminator, judged
from neuralpatch_cuda.networks.weights import load_texture_network, save_content_network
from neuralpatch_cuda.training.config import TrainConfig
from neuralpatch_cuda.training.data import HoleDataset, PhotoSource, ValidationDataset
from neuralpatch_cuda.training.losses import (
    absolute_error,
    adversarial_loss,
    feature_distance,
    gradient_penalty,
    log_squared_error,
    perceptual_distance,
    pixel_weight,
    squared_error,
)
from neuralpatch_cuda.training.masks import MASK_KINDS

log = logging.getLogger(__name__)

Generator = ContentNetwork | ContextEncoder
Batch = tuple[Tensor, Tensor]

LOG_STEPS = 50
"""Steps between two lines of the log."""

LEARNT_DB = 3.0
"""Gain in PSNR by which `overfit` knows that something was learnt."""

MUON_RATE, ADAM_RATE = 2e-3, 3e-4
"""Peaks of the schedules where none is given."""

ADVERSARIAL_NOISE = 0.5
"""Of the content network's input in the hole, when there is a discriminator."""

PERCEPTUAL_LAYERS = ("relu1_2", "relu2_2", "relu3_3")

HARMLESS = {"workers", "checkpoint_steps", "validation_steps", "validation_photos"}
"""Options that may change when a run is resumed: they do not change its weights."""

SHEET_ROWS = 8
"""Photographs on the sheet of predictions that is logged at every validation."""


def train(
    data: Sequence[Path],
    validation: Sequence[Path],
    run: Path,
    config: TrainConfig | None = None,
    generator: Generator | None = None,
) -> Path:
    """Train a content network, resuming from the last checkpoint in `run` if there is one.

    A run that was cut off, even by SIGKILL, ends with the weights of one that was not (same number of processes and
    threads, same device).

    Args:
        data: folders or uncompressed tar files of photographs.
        validation: the same, held out.
        run: folder for `content.safetensors`, `config.json`, `metrics.jsonl`, `checkpoints` and TensorBoard's `logs`.
        config: the options.
        generator: the network to start from; by default a new one.

    Returns:
        The path of the weights file, which holds the running average of the weights.

    Raises:
        DataError: there are too few photographs, or none that can be used.
        ConfigError: `run` holds a run with other options.
    """
    source, held_out = PhotoSource(data, CONTENT_SIDE), PhotoSource(validation, CONTENT_SIDE)
    trainer = Trainer(run, config or TrainConfig(), generator)
    trainer.fit(source, held_out)
    return trainer.weights


def overfit(
    data: Sequence[Path], count: int, run: Path, config: TrainConfig, generator: Generator | None = None
) -> str:
    """Learn a few photographs by heart: whatever is wrong with data, losses or networks shows within minutes.

    Returns:
        A sentence with the PSNR in their centre holes.

    Raises:
        DataError: there are fewer photographs.
        NeuralPatchError: they were not learnt.
    """
    steps = 300
    config = config.model_copy(
        update={"batch_size": count, "samples": steps * count, "validation_steps": steps, "workers": 0}
    )
    source = PhotoSource(data, CONTENT_SIDE, limit=count)
    trainer = Trainer(run, config, generator)
    before = trainer.validate(source)["centre"]["psnr_db"]
    trainer.fit(source, source)
    after = trainer.validate(source)["centre"]["psnr_db"]
    result = (
        f"PSNR in the centre holes of {count} photographs: {before:.1f} dB before, {after:.1f} dB after {steps} steps"
    )
    if after < before + LEARNT_DB:
        raise NeuralPatchError(f"The photographs were not learnt. {result}.")
    return result


class Trainer:
    """The networks, their optimisers and the state of a run."""

    def __init__(self, run: Path, config: TrainConfig, generator: Generator | None = None) -> None:
        self.run, self.config = run, config
        self.weights, self.metrics = run / "content.safetensors", run / "metrics.jsonl"
        run.mkdir(parents=True, exist_ok=True)
        dtype = choose_dtype(config.precision, choose_device("auto"))
        # Batches are split, so that the number of processes changes the speed and nothing else; and the seedable
        # sampler's order depends on the epoch alone, so that a resumed epoch goes on in the same order.
        self.accelerator = Accelerator(
            mixed_precision="bf16" if dtype == torch.bfloat16 else "no",
            dataloader_config=DataLoaderConfiguration(split_batches=True, use_seedable_sampler=True),
        )
        set_seed(config.seed)
        device = self.accelerator.device
        bare = generator or (ContextEncoder() if config.architecture == "context-encoder" else ContentNetwork())
        adversarial = config.adversarial > 0
        if isinstance(bare, ContentNetwork):
            noise = (ADVERSARIAL_NOISE if adversarial else 0.0) if config.noise is None else config.noise
            bare.config = replace(bare.config, noise=noise)
        bare.train().requires_grad_(True).to(device)
        bare.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.steps = max(1, config.samples // config.batch_size)
        self.average = AveragedModel(bare, multi_avg_fn=partial(move_average, config.ema_decay))
        self.progress = Progress()
        self.board: SummaryWriter | None = None
        self.generator, self.optimizer, schedule = self._prepare(
            bare, config.learning_rate, muon=isinstance(bare, ContentNetwork) and not adversarial
        )
        self.schedules = [schedule]
        self.discriminator = None
        if adversarial:
            self.discriminator, self.discriminator_optimizer, schedule = self._prepare(
                PatchDiscriminator(), config.discriminator_rate
            )
            self.schedules.append(schedule)
        self.texture = None
        if config.perceptual > 0:
            self.texture = load_texture_network("vgg16", PERCEPTUAL_LAYERS).to(device)
        self.accelerator.register_for_checkpointing(self.average, self.progress, *self.schedules)

    def _prepare(
        self, network: nn.Module, rate: float | None, muon: bool = False
    ) -> tuple[nn.Module, torch.optim.Optimizer, LRScheduler]:
        rate = rate or (MUON_RATE if muon else ADAM_RATE)
        optimizer = build_muon(network, rate) if muon else torch.optim.Adam(network.parameters(), rate, (0.5, 0.999))
        schedule = OneCycleLR(optimizer, rate, total_steps=self.steps + 1, pct_start=0.05, cycle_momentum=False)
        prepared, prepared_optimizer = self.accelerator.prepare(network, optimizer)
        return prepared, prepared_optimizer, schedule

    def fit(self, source: PhotoSource, held_out: PhotoSource) -> None:
        """Run the remaining steps; photographs to learn from, and others to validate on."""
        config, progress = self.config, self.progress
        if len(source) < config.batch_size:
            raise DataError(f"There are {len(source)} photographs, fewer than one batch of {config.batch_size}.")
        training = HoleDataset(source, CONTENT_SIDE, config.seed)
        loader = self.accelerator.prepare(batches(training, config.batch_size, config.workers))
        self._resume()
        if self._leads:
            self.board = SummaryWriter(self.run / "logs", purge_step=progress.step)
        self.clock = time.perf_counter()
        while progress.step < self.steps:
            for image, mask in self._rest_of_epoch(loader, training):
                progress.add(self.step(image, mask))
                if progress.step % LOG_STEPS == 0:
                    self._log()
                last = progress.step == self.steps
                if last or progress.step % config.validation_steps == 0:
                    self._validate(held_out)
                if last or progress.step % config.checkpoint_steps == 0:
                    self._checkpoint()
                if last:
                    break
            else:
                progress.epoch, progress.batch = progress.epoch + 1, 0
        if self.board is not None:
            self.board.close()

    def step(self, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """One step of the discriminator, if there is one, and of the generator; returns the values of the losses."""
        config, accelerator = self.config, self.accelerator
        # The noise depends on the step alone, so that a resumed run draws the same.
        torch.manual_seed(config.seed + self.progress.step * accelerator.num_processes + accelerator.process_index)
        filled = self.generator(image.contiguous(memory_format=torch.channels_last), mask)
        weight = pixel_weight(mask, config.overlap, config.overlap_weight)
        losses = {"l2": squared_error(filled, image, weight)}
        total = config.l2 * losses["l2"]
        if config.log_l2 > 0:
            losses["log_l2"] = log_squared_error(filled, image, weight)
            total = total + config.log_l2 * losses["log_l2"]
        if config.l1 > 0:
            losses["l1"] = absolute_error(filled, image, weight)
            total = total + config.l1 * losses["l1"]
        if self.texture is not None:
            losses["perceptual"] = perceptual_distance(self.texture, filled, image)
            total = total + config.perceptual * losses["perceptual"]
        if self.discriminator is not None:
            losses["discriminator"] = self._step_discriminator(filled.detach(), image, mask)
            # Frozen, and past what gathers gradients over processes: this pass is for the generator's gradient alone.
            judge = accelerator.unwrap_model(self.discriminator).requires_grad_(False)
            with torch.no_grad():
                real = judge(image, mask)
            fake = judge(filled, mask)
            losses["adversarial"] = adversarial_loss(fake.logits, real.logits, judged(mask))
            total = total + config.adversarial * losses["adversarial"]
            if config.feature_matching > 0:
                losses["feature_matching"] = feature_distance(fake.features, real.features)
                total = total + config.feature_matching * losses["feature_matching"]
            judge.requires_grad_(True)
        self._update(self.generator, self.optimizer, total)
        for schedule in self.schedules:
            schedule.step()
        self.average.update_parameters(accelerator.unwrap_model(self.generator))
        return losses

    def _step_discriminator(self, filled: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        assert self.discriminator is not None
        images = torch.cat([image, filled.to(image.dtype)]).requires_grad_()
        logits = self.discriminator(images, torch.cat([mask, mask])).logits
        weight = judged(mask)
        real, fake = logits.chunk(2)
        loss = adversarial_loss(real, fake, weight)
        penalty = gradient_penalty(logits, torch.cat([weight, weight]), images)
        self._update(self.discriminator, self.discriminator_optimizer, loss + self.config.gradient_penalty * penalty)
        return loss

    def _update(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def _rest_of_epoch(self, loader: DataLoader[Batch], training: HoleDataset) -> Iterator[Batch]:
        """The batches of the current epoch that have not been seen yet."""
        training.epoch = self.progress.epoch
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(self.progress.epoch)
        seen = self.progress.batch
        yield from self.accelerator.skip_first_batches(loader, seen) if seen else loader

    @property
    def _leads(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def _log(self) -> None:
        progress, now = self.progress, time.perf_counter()
        values: dict[str, float] = {name: self._mean(total).item() / LOG_STEPS for name, total in progress.sums.items()}
        progress.sums.clear()
        text = ", ".join(f"{name} {value:.5f}" for name, value in values.items())
        values["learning_rate"] = float(self.schedules[0].get_last_lr()[0])
        values["samples_per_second"] = LOG_STEPS * self.config.batch_size / (now - self.clock)
        self.clock = now
        if self.board is not None:
            log.info("step %d of %d: %s; %.0f samples/s", progress.step, self.steps, text, values["samples_per_second"])
            for name, value in values.items():
                self.board.add_scalar(f"train/{name}", value, progress.step)

    def _mean(self, value: Tensor) -> Tensor:
        """Mean over the processes."""
        mean: Tensor = self.accelerator.reduce(value, "mean")
        return mean

    def validate(self, held_out: PhotoSource, limit: int | None = None) -> dict[str, dict[str, float]]:
        """Measure the averaged network on every kind of hole, in all photographs or the first so many."""
        holes = {kind: ValidationDataset(held_out, CONTENT_SIDE, kind) for kind in MASK_KINDS}
        device = self.accelerator.device
        return {kind: score(self._fill, first(of_kind, limit), device) for kind, of_kind in holes.items()}

    def _fill(self, image: Tensor, mask: Tensor) -> Tensor:
        """What the averaged network makes of a hole, at the precision of the training."""
        with self.accelerator.autocast():
            filled: Tensor = self.average.module.eval()(image, mask)
        return filled

    def _validate(self, held_out: PhotoSource) -> None:
        """Measure the averaged network, show what it does, and save it."""
        if self.board is None:
            return
        step = self.progress.step
        last = step == self.steps
        rows = self.validate(held_out, None if last else self.config.validation_photos)
        for kind, row in rows.items():
            for name, value in row.items():
                # All photographs are no point of the curve of the first few.
                self.board.add_scalar(f"{'final' if last else 'validation'}_{kind}/{name}", value, step)
        shown = first(ValidationDataset(held_out, CONTENT_SIDE, "centre"), SHEET_ROWS)
        sheet = prediction_sheet({"prediction": self._fill}, shown, self.accelerator.device)
        self.board.add_image("predictions", np.asarray(sheet), step, dataformats="HWC")
        with self.metrics.open("a") as file:
            file.write(json.dumps({"step": step, "samples": step * self.config.batch_size, **rows}) + "\n")
        log.info(
            "step %d: PSNR in held-out holes: %s", step, ", ".join(f"{k} {r['psnr_db']:.2f}" for k, r in rows.items())
        )
        save_content_network(self.average.module, self.weights)  # type: ignore[arg-type]  # nn.Module to torch

    def _checkpoint(self) -> None:
        """Write a checkpoint under another name and rename it, so that there is a whole one whenever the run is cut."""
        folder = self.run / "checkpoints"
        partial = folder / "partial"
        if self._leads and partial.exists():
            shutil.rmtree(partial)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self._leads:
            older = checkpoints(folder)
            partial.rename(folder / f"step-{self.progress.step:09d}")
            for path in older:
                shutil.rmtree(path)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        """Go on from the last checkpoint, if there is one, and if it is of a run with the same options."""
        options = self.config.model_dump(exclude=HARMLESS)
        if found := checkpoints(self.run / "checkpoints"):
            begun = json.loads((self.run / "config.json").read_text())
            changed = [f"{name} {begun.get(name)}" for name, value in options.items() if begun.get(name) != value]
            if changed:
                raise ConfigError(
                    f"{self.run} holds a run begun with {', '.join(changed)}; give that or another folder."
                )
            self.accelerator.load_state(str(found[-1]))
            if self._leads:
                log.info("resumed at step %d of %d", self.progress.step, self.steps)
        elif self._leads:  # written at the beginning only: when a run is resumed, every process reads it
            (self.run / "config.json").write_text(json.dumps(options, indent=2) + "\n")
        if self._leads:  # what was measured after it will be measured again
            rows = self.metrics.read_text().splitlines(keepends=True) if self.metrics.exists() else []
            self.metrics.write_text("".join(row for row in rows if json.loads(row)["step"] <= self.progress.step))


def batches(training: HoleDataset, size: int, workers: int) -> DataLoader[Batch]:
    """Shuffled batches, read by so many processes. They are spawned: a fork of a process that has computed may hang."""
    return DataLoader(
        training,
        size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
    )


class Progress:
    """Where a run stands; saved with every checkpoint."""

    def __init__(self) -> None:
        self.step = self.epoch = self.batch = 0
        self.sums: dict[str, Tensor] = {}
        """Sum of each loss since the last line of the log."""

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Count a step."""
        self.step += 1
        self.batch += 1
        for name, loss in losses.items():
            self.sums[name] = self.sums[name] + loss.detach() if name in self.sums else loss.detach()

    def state_dict(self) -> dict[str, object]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, object]) -> None:
        vars(self).update(state)


def build_muon(network: nn.Module, rate: float) -> Muon:
    """Muon, by which matrices learn from fewer samples, and Adam for the vectors."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return Muon(
        [
            {"params": matrices, "lr": rate, "weight_decay": 0.02, "use_adjusted_lr": True, "use_muon": True},
            {"params": vectors, "lr": rate, "betas": (0.9, 0.98), "use_muon": False},
        ]
    )


@torch.no_grad()
def move_average(decay: float, average: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
    """Exponential moving average, with a smaller decay at first, so that the random start is soon forgotten."""
    torch._foreach_lerp_(average, current, 1 - min(decay, (1 + float(updates)) / (10 + float(updates))))


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*"))
