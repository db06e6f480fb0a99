"""Training learns, with every loss, and a run that was cut off goes on as if it had not been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neuralpatch_cuda.errors import ConfigError, DataError, NeuralPatchError
from neuralpatch_cuda.networks.content import ContentConfig, ContentNetwork
from neuralpatch_cuda.networks.context_encoder import ContextEncoder, ContextEncoderConfig
from neuralpatch_cuda.networks.weights import load_content_network
from neuralpatch_cuda.training.config import TrainConfig

pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")
pytest.importorskip("torchmetrics")
from neuralpatch_cuda.training.data import HoleDataset, PhotoSource
from neuralpatch_cuda.training.train import batches, checkpoints, overfit, train

SMALL = ContentConfig(width=16, dilations=(1, 2))


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the same steps give the same bytes, and two processes need no two GPUs."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Smooth colour gradients, which a network can learn to continue."""
    folder = tmp_path / "photos"
    folder.mkdir()
    y, x = np.mgrid[0:136, 0:136] / 135
    for i in range(8):
        a, b, c = np.random.default_rng(i).random((3, 3))
        picture = a * x[..., None] + b * y[..., None] + c * (1 - x[..., None])
        Image.fromarray((picture / 2.5 * 255).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def small() -> ContentNetwork:
    torch.manual_seed(0)
    return ContentNetwork(SMALL)


def config(samples: int, **options: object) -> TrainConfig:
    values = {"batch_size": 4, "workers": 0, "checkpoint_steps": 5, "validation_steps": 5, "precision": "fp32"}
    values |= {"ema_decay": 0.5, "learning_rate": 3e-3, "samples": samples}
    return TrainConfig(**(values | options))


def scores(run: Path) -> list[float]:
    return [json.loads(line)["centre"]["psnr_db"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def equal(first: Path, second: Path) -> bool:
    a, b = (load_content_network(path).state_dict() for path in (first, second))
    return all(torch.equal(a[name], b[name]) for name in a)


def test_training_learns_and_saves_what_it_validated(photos: Path, tmp_path: Path) -> None:
    weights = train([photos], [photos], tmp_path / "run", config(160), small())
    history = scores(tmp_path / "run")
    assert len(history) == 8 and history[-1] > history[0] + 1
    assert load_content_network(weights).config == SMALL
    assert list((tmp_path / "run" / "logs").glob("events*"))
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["step"] == 40 and row["samples"] == 160
    assert row.keys() == {"step", "samples", "centre", "boxes", "strokes", "thin", "medium", "thick"}
    assert row["thin"].keys() == {"psnr_db", "l1_percent", "ssim", "sharpness"}


@pytest.mark.parametrize(
    "options",
    [
        {"l1": 1.0},
        {"adversarial": 0.001, "l2": 0.999, "overlap_weight": 10},
        {"adversarial": 0.001, "feature_matching": 0.1},
        {"perceptual": 0.01},
    ],
)
def test_every_loss_trains(photos: Path, tmp_path: Path, options: dict[str, float]) -> None:
    train([photos], [photos], tmp_path / "run", config(80, **options), small())
    history = scores(tmp_path / "run")
    assert history[-1] > history[0] + 0.5


def test_the_papers_network_trains_with_the_same_command(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ContextEncoder(ContextEncoderConfig(width=8, bottleneck=32))
    weights = train([photos], [photos], tmp_path / "run", config(160), network)
    history = scores(tmp_path / "run")
    assert history[-1] > history[0] + 1
    assert isinstance(load_content_network(weights), ContextEncoder)


def test_overfit(photos: Path, tmp_path: Path) -> None:
    result = overfit([photos], 4, tmp_path / "run", config(1), small())
    assert result.startswith("PSNR in the centre holes of 4 photographs:") and "after 300 steps" in result
    with pytest.raises(NeuralPatchError, match="not learnt"):
        overfit([photos], 4, tmp_path / "again", config(1, learning_rate=1e-9), small())


def test_too_few_photographs(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are 8 photographs, fewer than one batch of 9"):
        train([photos], [photos], tmp_path / "run", config(80, batch_size=9), small())


def test_a_run_is_resumed_with_the_options_it_was_begun_with(photos: Path, tmp_path: Path) -> None:
    train([photos], [photos], tmp_path / "run", config(20), small())
    weights = (tmp_path / "run/content.safetensors").read_bytes()
    with pytest.raises(
        ConfigError, match=r"run holds a run begun with l1 0\.0, seed 0; give that or another folder\.$"
    ):
        train([photos], [photos], tmp_path / "run", config(20, l1=0.5, seed=3), small())
    train([photos], [photos], tmp_path / "run", config(20, validation_steps=1, workers=1), small())  # has ended
    assert (tmp_path / "run/content.safetensors").read_bytes() == weights


SCRIPT = """
import sys, torch
from pathlib import Path
from neuralpatch_cuda.networks.content import ContentConfig, ContentNetwork
from neuralpatch_cuda.training.config import TrainConfig
from neuralpatch_cuda.training.train import train

torch.manual_seed(0)
photos, run, options = sys.argv[1:]
network = ContentNetwork(ContentConfig(width=16, dilations=(1, 2)))
train([Path(photos)], [Path(photos)], Path(run), TrainConfig.model_validate_json(options), network)
"""


def test_a_run_that_was_killed_ends_with_the_same_weights(photos: Path, tmp_path: Path) -> None:
    """With an adversary, whose state and random power iterations must be resumed too."""
    options = config(160, adversarial=0.01, checkpoint_steps=3, validation_steps=10, workers=1)
    whole = train([photos], [photos], tmp_path / "whole", options, small())

    run = tmp_path / "cut"
    command = [sys.executable, "-c", SCRIPT, str(photos), str(run), options.model_dump_json()]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and not checkpoints(run / "checkpoints"):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    assert equal(whole, run / "content.safetensors")
    assert scores(run) == scores(tmp_path / "whole")


def test_two_processes_learn_what_one_does(photos: Path, tmp_path: Path) -> None:
    """Each takes its half of every batch, so only the order of the additions differs (and the noise, if any)."""
    options = config(40, adversarial=0.01, learning_rate=1e-3, noise=0)
    one = train([photos], [photos], tmp_path / "one", options, small())
    (tmp_path / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    arguments = [str(tmp_path / "script.py"), str(photos), str(tmp_path / "two"), options.model_dump_json()]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run([*launch, *arguments], env=environment, check=True, capture_output=True)
    assert scores(tmp_path / "two") == pytest.approx(scores(tmp_path / "one"), abs=0.1)
    first, second = (load_content_network(path).state_dict() for path in (one, tmp_path / "two/content.safetensors"))
    change = torch.cat([(second[name] - first[name]).flatten() for name in first])
    learnt = torch.cat([(first[name] - value.detach()).flatten() for name, value in small().state_dict().items()])
    assert change.norm() < 0.1 * learnt.norm()


def test_workers_are_spawned_and_read_what_the_training_would(photos: Path) -> None:
    data = HoleDataset(PhotoSource([photos], 128), 128, seed=3)
    loaders = [batches(data, 4, workers) for workers in (0, 1)]
    context = loaders[1].multiprocessing_context
    assert context is not None
    assert context.get_start_method() == "spawn"
    found = []
    for data.epoch in (0, 5):
        for loader in loaders:  # in any order
            sums = [image.sum().item() for batch, _ in loader for image in batch]
            found.append(sorted(sums))
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert found[0] != found[2]  # the same photographs, cut otherwise
