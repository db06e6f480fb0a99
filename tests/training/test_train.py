"""The training command learns, and a run that was cut off goes on as if it had not been."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neuralpatch_cuda.networks.content import ContentConfig
from neuralpatch_cuda.networks.weights import load_content_network

pytest.importorskip("accelerate")
from neuralpatch_cuda.training import train as training
from neuralpatch_cuda.training.train import TrainConfig, train

SMALL = ContentConfig(width=16, dilations=(1, 2))


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


def config(samples: int) -> TrainConfig:
    return TrainConfig(samples=samples, batch_size=4, workers=0, checkpoint_steps=5, ema_decay=0.5, learning_rate=3e-3)


def scores(run: Path) -> list[float]:
    return [json.loads(line)["psnr_centre"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_training_learns_and_saves_what_it_validated(photos: Path, tmp_path: Path) -> None:
    weights = train([photos], [photos], tmp_path / "run", config(160), SMALL)
    history = scores(tmp_path / "run")
    assert len(history) == 8 and history[-1] > history[0] + 1
    assert load_content_network(weights).config == SMALL


def test_a_run_that_was_cut_off_ends_with_the_same_weights(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train([photos], [photos], tmp_path / "whole", config(80), SMALL)

    class CutOffError(Exception):
        pass

    calls = 0

    def loss_then_fail(*tensors: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 13:
            raise CutOffError
        return hole_loss(*tensors)

    hole_loss = training.hole_loss
    monkeypatch.setattr(training, "hole_loss", loss_then_fail)
    with pytest.raises(CutOffError):
        train([photos], [photos], tmp_path / "cut", config(80), SMALL)
    monkeypatch.undo()
    resumed = train([photos], [photos], tmp_path / "cut", config(80), SMALL)

    expected, actual = (load_content_network(path).state_dict() for path in (whole, resumed))
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
