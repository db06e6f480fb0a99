"""Means with intervals, the page that shows them, and what is measured by others' networks."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from neuralpatch_cuda.evaluation import perceptual, report
from neuralpatch_cuda.evaluation.cases import find_cases
from neuralpatch_cuda.evaluation.evaluate import Row, evaluate
from neuralpatch_cuda.evaluation.methods import Method
from neuralpatch_cuda.evaluation.perceptual import FID, LPIPS, frechet_distance
from neuralpatch_cuda.evaluation.summary import estimate, summarise


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(3, 2, (100, 40))
    covered = [found.low <= 3 <= found.high for found in map(estimate, samples)]
    assert 0.85 <= np.mean(covered) <= 1
    assert estimate(samples[0]) == estimate(samples[0])
    half_width = (estimate(samples[0]).high - estimate(samples[0]).low) / 2
    assert half_width == pytest.approx(1.96 * samples[0].std() / math.sqrt(40), rel=0.15)


def test_a_single_photograph_has_no_interval() -> None:
    found = estimate(np.array([2.5]))
    assert found.mean == 2.5 and math.isnan(found.low) and math.isnan(found.high)


def test_standings() -> None:
    rows = [
        Row("a", "x", {"psnr_db": 10.0, "seam": math.nan, "seconds": 1.0, "extra_mb": 5.0}),
        Row("b", "x", {"psnr_db": 20.0, "seam": 2.0, "seconds": 4.0, "extra_mb": 9.0}),
        Row("c", "x", {"psnr_db": math.inf, "seconds": 2.0}),
        Row("a", "y", error="It failed."),
    ]
    x, y = summarise(rows, {"x": 7.5})
    assert (x.method, x.photographs, x.failed, x.fid) == ("x", 3, 0, 7.5)
    assert x.measures["psnr_db"].mean == 15 and x.measures["seam"].mean == 2  # what is not finite is left out
    assert (x.median_seconds, x.most_extra_mb) == (2, 9)
    assert (y.photographs, y.failed, y.measures, y.fid) == (0, 1, {}, None)


def test_the_report_needs_nothing_else(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MOST_PHOTOGRAPHS", 2)
    Image.new("RGB", (128, 128), "red").save(photographs / "a<script>&.png")
    cases = find_cases(str(photographs), None, "centre", None, tmp_path / "out")
    methods = [Method("telea"), Method("navier-stokes", label="<b>")]
    rows = evaluate(cases, methods, tmp_path / "out")
    file = io.BytesIO()
    report.write_report(file, "Title", cases, methods, rows, summarise(rows), tmp_path / "out", ["A note."])
    page = file.getvalue().decode()
    sources = re.findall(r"src=\"([^\"]*)\"", page)
    assert len(sources) == 2 * 4  # of two photographs: the hole, two fills and what was there
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert "http:" not in page and "https:" not in page and "url(" not in page
    assert "a&lt;script&gt;&amp;.png" in page and "&lt;b&gt;" in page and "<b>:" not in page
    assert page.count("<select") == 4 and page.count('type="range"') == 2
    assert "A note." in page and "1 more are not" in page
    for standing in summarise(rows):
        assert f"{standing.measures['psnr_db'].mean:.2f}" in page


@pytest.mark.parametrize("needs", [LPIPS, FID])
def test_what_is_not_at_hand_is_said(needs: perceptual.Needs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda name: None)
    assert re.fullmatch(rf"{needs.measure} is left out: it needs [\w-]+, which is not installed\.", needs.missing())
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda name: object())
    assert needs.url in needs.missing() and str(tmp_path) in needs.missing()
    needs.weights.parent.mkdir()
    needs.weights.touch()
    assert needs.missing() is None


def test_frechet_distance_of_known_distributions() -> None:
    class Colour(nn.Module):
        """Features whose distributions are known: the mean of two channels."""

        num_features = 2

        def forward(self, images: Tensor) -> Tensor:
            return images[:, :2].double().mean((2, 3))

    rng = torch.Generator().manual_seed(0)
    originals = [torch.randint(0, 200, (3, 1, 1), generator=rng).expand(3, 8, 8).byte() for _ in range(50)]
    metric = FrechetInceptionDistance(Colour(), input_img_size=(3, 8, 8)).set_dtype(torch.float64)
    assert frechet_distance(metric, zip(originals, originals, strict=True)) == pytest.approx(0, abs=1e-3)
    shifted = [(image + 30).byte() for image in originals]
    assert frechet_distance(metric, zip(shifted, originals, strict=True)) == pytest.approx(2 * 30**2, rel=1e-3)
