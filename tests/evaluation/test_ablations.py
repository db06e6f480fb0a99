"""The studies vary what they say, and write pictures and tables."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError
from neuralpatch_cuda.evaluation import ablations
from neuralpatch_cuda.evaluation.ablations import STUDIES, Study, ablate, count
from neuralpatch_cuda.evaluation.cases import Case, find_cases
from neuralpatch_cuda.evaluation.methods import Method
from neuralpatch_cuda.evaluation.sheet import TILE


@pytest.fixture
def cases(photographs: Path, tmp_path: Path) -> list[Case]:
    return find_cases(str(photographs), None, "centre", None, tmp_path / "out")


def test_every_study_varies_options_that_there_are() -> None:
    for name, study in STUDIES.items():
        assert study.question.endswith(("?", ".")), name
        assert len(study.variants) >= 2
        for options in study.variants.values():
            if not isinstance(options, Method):
                InpaintConfig(**options)


def test_the_paper_is_covered() -> None:
    assert {"scales", "alpha", "content", "adversary", "layers", "patch-size"} <= STUDIES.keys()
    assert {"rematching", "iterations", "precision", "search", "features"} <= STUDIES.keys()


def test_what_studies_share_is_counted_once() -> None:
    assert count(["alpha"]) == 7
    assert count(["alpha", "iterations"]) == 7 + 5 - 1  # the defaults are part of both


def test_an_unknown_study() -> None:
    with pytest.raises(ConfigError, match="no study 'beta'; there are scales, alpha"):
        ablations.study("beta")


def test_a_study_from_beginning_to_end(cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Study(
        "Are more iterations better?",
        {"0": {"iterations": 0}, "2": {"iterations": 2}, "random": Method("random-features", {"iterations": 2})},
        "iterations",
    )
    monkeypatch.setitem(STUDIES, "quick", quick)
    seen = []
    found = ablate(cases, ["quick"], tmp_path / "out", "cpu", seen.append)
    assert len(seen) == 6 and list(found["quick"]) == ["0", "2", "random"]
    with (tmp_path / "out" / "quick.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == ["0", "2", "random"]
    assert len({row["psnr_db"] for row in rows}) == 3
    for row in rows:
        assert float(row["psnr_db_low"]) <= float(row["psnr_db"]) <= float(row["psnr_db_high"])
    picture = np.asarray(Image.open(tmp_path / "out" / "quick.png"))
    assert picture.shape[1] > 5 * TILE and picture.shape[0] > 2 * TILE
    assert Image.open(tmp_path / "out" / "quick-measures.png").width > 300
