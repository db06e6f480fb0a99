"""An evaluation writes what it found, goes on where it was stopped, and lets nothing that fails end it."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from neuralpatch_cuda.errors import ConfigError, OutputError
from neuralpatch_cuda.evaluation.cases import Case, find_cases
from neuralpatch_cuda.evaluation.comparison import compare
from neuralpatch_cuda.evaluation.evaluate import MEASURES, Row, evaluate, fill_path
from neuralpatch_cuda.evaluation.methods import Method
from neuralpatch_cuda.evaluation.metrics import measures

COUNTING = """
import numpy as np
calls = []

def fill(image, hole):
    calls.append(hole.sum())
    return np.where(hole[..., None], np.uint8(100), image)

def broken(image, hole):
    raise RuntimeError("out of paint")

def smaller(image, hole):
    return image[1:]
"""


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The calls of the method counting:fill; the current folder has the module."""
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "counting", raising=False)
    import counting

    return counting.calls


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def cases(photographs: Path, out: Path) -> list[Case]:
    return find_cases(str(photographs), None, "centre", None, out)


FILL, TELEA = Method("counting:fill"), Method("telea")


def test_figures_are_those_of_the_files(cases: list[Case], out: Path, counting: list[int]) -> None:
    rows = evaluate(cases, [FILL, TELEA], out)
    assert [(row.photograph, row.method) for row in rows] == [
        (case.name, method.label) for method in (FILL, TELEA) for case in cases
    ]
    with (out / "results.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == 4
    for row, line, method in zip(rows, written, [FILL, FILL, TELEA, TELEA], strict=True):
        case = next(case for case in cases if case.name == row.photograph)
        photograph, hole = case.load()
        filled = np.array(Image.open(fill_path(out, method, case)))
        assert (filled[~hole] == photograph[~hole]).all()
        planes = (torch.from_numpy(x).permute(2, 0, 1) / 255 for x in (filled, photograph))
        expected = measures(*planes, torch.from_numpy(hole))
        for name, value in expected.items():
            assert row.measures[name] == value
            assert float(line[name]) == pytest.approx(value, rel=1e-5)
        assert 0 < row.measures["seconds"] < 60
        assert line["lpips"] == "" and line["error"] == ""
    assert {name for name in written[0] if name in MEASURES} == set(MEASURES)


def test_a_second_run_does_nothing_again(cases: list[Case], out: Path, counting: list[int]) -> None:
    rows = evaluate(cases, [FILL], out)
    assert len(counting) == 2
    again = evaluate(cases, [FILL], out)
    assert len(counting) == 2
    for row, other in zip(rows, again, strict=True):
        assert row.measures == pytest.approx(other.measures, rel=1e-5)


@pytest.mark.parametrize("lost", ["line", "fill", "photograph", "options"])
def test_what_is_lost_or_changed_is_done_again(lost: str, cases: list[Case], out: Path, counting: list[int]) -> None:
    evaluate(cases, [FILL], out)
    results, method = out / "results.csv", FILL
    if lost == "line":  # killed in the middle of writing it
        results.write_bytes(results.read_bytes()[:-20])
    elif lost == "fill":
        fill_path(out, FILL, cases[1]).unlink()
    elif lost == "photograph":
        os.utime(cases[1].item.image, ns=(1, 1))
    else:
        cases = [cases[0], Case(cases[1].item, "boxes")]
    evaluate(cases, [method], out)
    assert len(counting) == 3
    evaluate(cases, [method], out)
    assert len(counting) == 3
    assert len(results.read_text().splitlines()) >= 3


def test_a_method_that_fails_does_not_end_the_run(cases: list[Case], out: Path, counting: list[int]) -> None:
    methods = [Method("counting:broken"), Method("counting:smaller"), FILL]
    rows = evaluate(cases, methods, out)
    assert [row.error for row in rows[:2]] == ["RuntimeError: out of paint."] * 2
    assert rows[2].error == "The method must return uint8 [128, 128, 3], as it was given."
    assert not rows[0].measures and len(counting) == 2
    (standing, _, good) = compare(cases, methods, out, "cpu")
    assert (standing.photographs, standing.failed, good.failed) == (0, 2, 0)
    assert "out of paint" in (out / "report.html").read_text()


def test_a_damaged_photograph_is_named(photographs: Path, out: Path, counting: list[int]) -> None:
    (photographs / "broken.png").write_bytes(b"nothing")
    rows = evaluate(find_cases(str(photographs), None, "centre", None, out), [FILL], out)
    assert ["broken.png" in row.error for row in rows] == [True, False, False]


def test_one_name_for_two_methods(cases: list[Case], out: Path) -> None:
    with pytest.raises(ConfigError, match="same name"):
        evaluate(cases, [TELEA, Method("telea")], out)


@pytest.mark.parametrize("name", ["report.html", "results.csv"])
def test_files_of_others_are_left_alone(name: str, cases: list[Case], out: Path) -> None:
    out.mkdir()
    (out / name).write_text("a,b\n1,2\n")
    with pytest.raises(OutputError, match="give an empty folder"):
        evaluate(cases, [TELEA], out)
    assert (out / name).read_text() == "a,b\n1,2\n" and len(list(out.iterdir())) == 1


def test_two_evaluations_in_one_folder(cases: list[Case], out: Path) -> None:
    out.mkdir()
    with FileLock(out / ".results.csv.lock"), pytest.raises(OutputError, match="at work"):
        evaluate(cases, [TELEA], out)


def test_summary(cases: list[Case], out: Path) -> None:
    compare(cases, [TELEA, Method("navier-stokes")], out, "cpu")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["photographs"] == 2 and summary["holes"] == ["centre"]
    assert [each["method"] for each in summary["standings"]] == ["telea", "navier-stokes"]
    psnr = summary["standings"][0]["measures"]["psnr_db"]
    assert psnr["low"] <= psnr["mean"] <= psnr["high"]
    assert summary["machine"]["torch"] == torch.__version__
    assert str(out) not in json.dumps(summary)


def test_cases_from_masks(photographs: Path, tmp_path: Path, out: Path) -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[10:30, 50:90] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    cases = find_cases(str(photographs), str(tmp_path / "mask.png"), None, None, out)
    assert [case.name for case in cases] == ["meadow.png", "mountain.png"]
    _, hole = cases[0].load()
    assert (hole == (mask > 0)).all()
    small, hole = Case(cases[0].item, None, 64).load()
    assert small.shape == (64, 64, 3) and hole.shape == (64, 64) and hole.any()


@pytest.mark.parametrize("kind", ["centre", "boxes", "strokes", "thin", "medium", "thick"])
def test_drawn_holes_do_not_depend_on_the_other_photographs(kind: str, photographs: Path, out: Path) -> None:
    first, second = find_cases(str(photographs), None, kind, None, out)
    alone = find_cases(str(photographs / "mountain.png"), None, kind, None, out)[0]
    assert (alone.load()[1] == second.load()[1]).all()
    assert 0 < first.load()[1].mean() < 0.7
    assert kind == "centre" or (first.load()[1] != second.load()[1]).any()


def test_what_does_not_fit_together(photographs: Path, tmp_path: Path, out: Path) -> None:
    for arguments in (
        (str(photographs), None, None),  # no masks
        (str(photographs), "masks", "centre"),
        (str(photographs), None, "round"),
        (str(tmp_path / "nowhere"), None, "centre"),
        (str(out), None, "centre"),
    ):
        out.mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match=r"[.)]$"):
            find_cases(*arguments, None, out)


def test_a_row_survives_being_written() -> None:
    row = Row("a,b\n.png", 'with "quotes"', {"psnr_db": math.inf, "ssim": 0.5}, "", "0123456789abcdef")
    lines = dict.fromkeys(MEASURES, "") | row.write()
    assert Row.read(lines) == row
