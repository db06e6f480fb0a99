"""The whole pipeline beside the released 2017 algorithm. Run: `pytest benchmarks/bench_inpaint.py`.

The example photograph, cropped to a square and reduced to 512 px, with a centred hole of half its side; 100 iterations
on each of three scales. The port of the release (`neuralpatch_cuda.evaluation.released_2017`) runs first, once, and
takes minutes. The ratios are its seconds over the pipeline's median, from the same run: `ratio` of the algorithm as
released, `over_best_peer` of its best case. For a quick look, BENCH_ITERATIONS=2 cuts the iterations of all of them,
and BENCH_SIDE=256 the photograph.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from benchmarks.machine import DEVICES
from neuralpatch_cuda import InpaintConfig, Inpainter, ops
from neuralpatch_cuda.evaluation import released_2017
from neuralpatch_cuda.evaluation.memory import PeakMemory
from neuralpatch_cuda.imaging.images import to_rgb
from neuralpatch_cuda.ops import reference
from neuralpatch_cuda.synthesis.pyramid import resize

SIDE = int(os.environ.get("BENCH_SIDE", "512"))
ITERATIONS = int(os.environ.get("BENCH_ITERATIONS", "100"))

BEST_CASE = "released, best case"

released_seconds: dict[str, dict[str, float]] = {device: {} for device in DEVICES}
"""By device and by the name of the ratio that it serves for."""


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    with Image.open(Path(__file__).parents[1] / "examples" / "photo.jpg") as image:
        return ImageOps.fit(image.convert("RGB"), (SIDE, SIDE))


@pytest.fixture(scope="module")
def hole() -> Tensor:
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = True
    return mask


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("recompute", "ratio"), [(True, "ratio"), (False, "over_best_peer")], ids=["as_released", "best_case"]
)
def test_released_2017(benchmark, photo, hole, recompute, ratio, device):
    """As released: correlating in every iteration; best case: once a scale."""
    image = to_rgb(photo).to(device)
    content = Inpainter(device=device).predict_content(image, hole.to(device))
    content = torch.where(hole.to(device), resize(content, (SIDE, SIDE)).clamp(0, 1), image)
    network = released_2017.Vgg.random().to(device)
    weight = (~hole).to(image)

    def run() -> float:
        filled = released_2017.inpaint(image, content, weight, network, iterations=ITERATIONS, recompute=recompute)
        return filled.sum().item()  # waits for the device

    function = "released 2017" if recompute else BEST_CASE
    measure(benchmark, run, device, function, "fp32", rounds=1, warmup_rounds=0)
    if benchmark.stats:
        released_seconds[device][ratio] = benchmark.stats["median"]


VARIANTS: dict[str, tuple[int, dict[str, Any]]] = {
    "matched_once": (5, {"rematch_every": 0}),
    "matched_every_10": (5, {}),
    "matched_once_fp32": (1, {"rematch_every": 0, "precision": "fp32"}),
}
"""Rounds and options of each; the precision is the device's best where not named."""


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_inpaint(benchmark, photo, hole, variant, device):
    rounds, options = VARIANTS[variant]
    painter = Inpainter(InpaintConfig(iterations=ITERATIONS, **options), device)
    function = variant.replace("_", " ")
    measure(benchmark, lambda: painter(photo, hole), device, function, precision(painter), rounds, warmup_rounds=1)


@pytest.mark.parametrize("device", DEVICES)
def test_inpaint_with_reference_operators(benchmark, photo, hole, device, monkeypatch):
    """Matched every 10 iterations, with each operator replaced by its PyTorch twin."""
    for name in ops.__all__:
        if hasattr(reference, name):
            monkeypatch.setattr(ops, name, getattr(reference, name))
    painter = Inpainter(InpaintConfig(iterations=ITERATIONS), device)
    function = "reference operators"
    measure(benchmark, lambda: painter(photo, hole), device, function, precision(painter), rounds=3, warmup_rounds=1)


def precision(painter: Inpainter) -> str:
    return "bf16" if painter.dtype == torch.bfloat16 else "fp32"


def measure(
    benchmark: Any,
    run: Callable[[], object],
    device: str,
    function: str,
    precision: str,
    rounds: int,
    warmup_rounds: int,
) -> None:
    """Time a run that ends with its result on the host; note seconds, peak memory and the ratios to the release."""
    benchmark.extra_info.update(function=function, precision=precision)
    benchmark.group = f"{SIDE} px, hole of {SIDE // 2} px, 3 x {ITERATIONS} iterations, {device}"
    with PeakMemory(device) as memory:
        benchmark.pedantic(run, rounds=rounds, warmup_rounds=warmup_rounds)
    benchmark.extra_info["extra_bytes"] = memory.extra_bytes
    if benchmark.stats:
        seconds = benchmark.stats["median"]
        benchmark.extra_info["seconds"] = round(seconds, 3)
        for ratio, released in released_seconds[device].items():
            benchmark.extra_info[ratio] = round(released / seconds, 2)
        if "over_best_peer" in benchmark.extra_info:
            benchmark.extra_info["best_peer"] = BEST_CASE
