"""Two evaluations are compared photograph by photograph, and only where these and their holes are the same."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuralpatch_cuda import cli
from neuralpatch_cuda.errors import ConfigError
from neuralpatch_cuda.evaluation.against import Other, differences, read_other
from neuralpatch_cuda.evaluation.cases import Case, find_cases
from neuralpatch_cuda.evaluation.comparison import compare
from neuralpatch_cuda.evaluation.evaluate import Row, evaluate, read_rows
from neuralpatch_cuda.evaluation.methods import Method

TELEA = Method("telea")


@pytest.fixture(autouse=True)
def without_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their distances would take most of the time, and are compared as all measures are."""
    monkeypatch.setattr("neuralpatch_cuda.evaluation.evaluate.load_distances", dict)


def rows(values: Sequence[float], method: str = "telea", measure: str = "psnr_db") -> list[Row]:
    return [Row(f"{i}.png", method, {measure: value}) for i, value in enumerate(values)]


def difference(this: Sequence[float], that: Sequence[float]) -> tuple[float, float, float, int]:
    """Mean, ends of the interval and number of photographs."""
    other = Other("before", rows(that, "old"), {"telea": "old"})
    found = differences(rows(this), other)["telea"]
    assert found.method == "old"
    estimate = found.measures["psnr_db"]
    return estimate.mean, estimate.low, estimate.high, estimate.photographs


def test_photographs_are_paired() -> None:
    """They differ by 30 among each other, and by 1 from run to run."""
    assert difference([11, 41, 21], [10, 40, 20]) == (1, 1, 1, 3)
    assert difference([10, 40, 20], [10, 40, 20]) == (0, 0, 0, 3)
    assert difference([9.5, 39.5], [10, 40]) == (-0.5, -0.5, -0.5, 2)


def test_the_interval_is_that_of_the_differences() -> None:
    # Of two photographs, a resample is 0, 1 or 2 with probabilities of 1/4, 1/2 and 1/4.
    assert difference([10, 42], [10, 40]) == (1, 0, 2, 2)
    noise = np.random.default_rng(0).normal(0.3, 0.2, 60)
    level = np.random.default_rng(1).normal(15, 5, 60)
    mean, low, high, photographs = difference(level + noise, level)
    assert photographs == 60 and mean == pytest.approx(noise.mean(), abs=1e-4)
    assert (high - low) / 2 == pytest.approx(1.96 * noise.std() / math.sqrt(60), rel=0.1)


def test_what_is_not_finite_in_either_is_left_out_of_both() -> None:
    mean, *_, photographs = difference([math.inf, 5, math.nan, 8, math.inf], [3, math.nan, 4, 7, math.inf])
    assert (mean, photographs) == (1, 1)
    other = Other("before", rows([math.inf, 2]), {"telea": "telea"})
    assert not differences(rows([1, math.nan]), other)["telea"].measures
    other = Other("before", rows([1, 2], measure="ssim"), {"telea": "telea"})  # another measure
    assert not differences(rows([1, 2]), other)["telea"].measures


def test_photographs_that_only_one_has_filled_do_not_count() -> None:
    this = [*rows([5, 6]), Row("2.png", "telea", error="It failed."), Row("4.png", "telea", {"psnr_db": 9.0})]
    other = Other("before", rows([4, 4, 4, 4]), {"telea": "telea"})
    found = differences(this, other)["telea"].measures["psnr_db"]
    assert (found.mean, found.photographs) == (1.5, 2)


def test_a_single_photograph_has_a_difference_but_no_interval() -> None:
    mean, low, high, photographs = difference([4], [2])
    assert (mean, photographs) == (2, 1) and math.isnan(low) and math.isnan(high)


def test_rounding_in_the_file_is_no_difference(cases: list[Case], tmp_path: Path) -> None:
    found = evaluate(cases, [TELEA], tmp_path / "before")
    other = read_other(tmp_path / "before", cases, [TELEA])
    for estimate in differences(found, other)["telea"].measures.values():
        assert (estimate.mean, estimate.low, estimate.high, estimate.photographs) == (0, 0, 0, 2)


@pytest.fixture
def cases(photographs: Path, tmp_path: Path) -> list[Case]:
    return find_cases(str(photographs), None, "centre", None, tmp_path / "out")


@pytest.fixture
def before(cases: list[Case], tmp_path: Path) -> Path:
    """The folder of an evaluation of two methods."""
    evaluate(cases, [TELEA, Method("navier-stokes")], tmp_path / "before")
    return tmp_path / "before"


def test_methods_go_by_their_labels(before: Path, cases: list[Case], tmp_path: Path) -> None:
    methods = [Method("telea", {"radius": "2"}, "navier-stokes"), Method("content"), TELEA]
    assert read_other(before, cases, methods).methods == {"navier-stokes": "navier-stokes", "telea": "telea"}
    with pytest.raises(
        ConfigError, match=r"No method is in both evaluations: here content, in .* telea, navier-stokes"
    ):
        read_other(before, cases, [Method("content")])
    evaluate(cases, [TELEA], tmp_path / "one")
    assert read_other(tmp_path / "one", cases, [Method("content")]).methods == {"content": "telea"}
    with pytest.raises(ConfigError, match="No method is in both"):
        read_other(tmp_path / "one", cases, [Method("content"), Method("texture")])


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", "photograph,method,error,key\n", "\0\0"])
def test_no_evaluation(content: str | None, cases: list[Case], tmp_path: Path) -> None:
    folder = tmp_path / "before"
    for each in (folder, tmp_path / "nowhere", tmp_path / "photographs" / "meadow.png"):
        with pytest.raises(ConfigError, match=r"is not the output folder of an evaluation: it has no results\.csv"):
            read_other(each, cases, [TELEA])
        folder.mkdir(exist_ok=True)
        if content is not None:
            (folder / "results.csv").write_text(content)


def test_no_photograph_in_both(before: Path, cases: list[Case], photographs: Path, tmp_path: Path) -> None:
    (photographs / "meadow.png").rename(photographs / "field.png")
    others = find_cases(str(photographs / "field.png"), None, "centre", None, tmp_path / "out")
    with pytest.raises(ConfigError, match="has filled none of these photographs"):
        read_other(before, others, [TELEA])
    failed = tmp_path / "failed"
    evaluate(cases[:1], [TELEA], failed)  # it is not there any more
    with pytest.raises(ConfigError, match="has filled none of these photographs"):
        read_other(failed, cases, [TELEA])


@pytest.mark.parametrize("change", ["hole", "side", "pixel", "mask"])
def test_other_holes_and_photographs_are_refused(change: str, before: Path, photographs: Path, tmp_path: Path) -> None:
    hole, side, mask = "centre", None, None
    if change == "pixel":
        image = Image.open(photographs / "meadow.png")
        image.putpixel((0, 0), (1, 2, 3))
        image.save(photographs / "meadow.png")
    elif change == "mask":
        pixels = np.zeros((128, 128), np.uint8)
        pixels[40:80, 40:80] = 255
        Image.fromarray(pixels).save(tmp_path / "mask.png")
        hole, mask = None, str(tmp_path / "mask.png")
    else:
        hole, side = ("boxes", None) if change == "hole" else ("centre", 64)
    others = find_cases(str(photographs), mask, hole, side, tmp_path / "out")
    number = 1 if change == "pixel" else 2
    with pytest.raises(ConfigError, match=rf"not those of .*: {number} of 2 differ, such as meadow\.png\.$"):
        read_other(before, others, [TELEA])


def test_the_same_pixels_and_holes_elsewhere_are_compared(
    before: Path, cases: list[Case], photographs: Path, tmp_path: Path
) -> None:
    """Files were copied, the hole is read from a mask, one photograph was lost, and one was damaged."""
    folder = tmp_path / "copies"
    folder.mkdir()
    Image.open(photographs / "mountain.png").save(folder / "mountain.tif")
    (folder / "meadow.png").write_bytes(b"nothing")
    Image.fromarray(cases[0].load()[1]).save(tmp_path / "mask.png")
    copies = find_cases(str(folder), str(tmp_path / "mask.png"), None, None, tmp_path / "out")
    (standing,) = compare(copies, [TELEA], tmp_path / "out", "cpu", against=before)
    assert (standing.photographs, standing.failed) == (1, 1)
    assert standing.difference is not None
    assert standing.difference.measures["psnr_db"].photographs == 1
    assert standing.difference.measures["psnr_db"].mean == 0


def old_table(path: Path) -> None:
    """Make of a table what an older version would have written."""
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    new = {"case", "stray_mean", "stray_p95", "efficientnet"}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in lines[0] if name not in new], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(line | {"key": 16 * "0"} for line in lines)


def test_an_older_table_is_read_with_a_warning(before: Path, cases: list[Case], tmp_path: Path) -> None:
    old_table(before / "results.csv")
    with pytest.warns(UserWarning, match=r"older version, and does not tell whether its holes are the same\.$"):
        other = read_other(before, cases, [TELEA])
    measures = differences(evaluate(cases, [TELEA], tmp_path / "out"), other)["telea"].measures
    assert measures["psnr_db"].mean == 0 and "stray_mean" not in measures


def test_an_older_table_is_brought_up_to_date(before: Path, cases: list[Case]) -> None:
    old_table(before / "results.csv")
    found = evaluate(cases, [TELEA], before)
    assert all(row.case and "stray_mean" in row.measures for row in found)
    left = [row.method for row in read_rows(before / "results.csv").values() if not row.case]
    assert left == ["navier-stokes"] * 2  # it was not asked for


@pytest.fixture
def folder(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the folder `photographs`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(output: str, *options: str) -> int:
    command = ["evaluate", "--image", "photographs", "--hole", "centre", "--output", output, "--quiet"]
    return cli.main([*command, *options])


def test_a_command_shows_the_differences(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["--method", "telea", "--method", "navier-stokes"]
    assert run("before", *methods) == 0
    capsys.readouterr()
    options = ["--method", "telea: telea radius=20", "--method", "other: telea", "--against", "before"]
    assert run("after", *options) == 0
    printed = capsys.readouterr().out
    assert "telea minus telea of before" in printed and "navier-stokes" not in printed
    with (folder / "before" / "results.csv").open(newline="") as file:
        old = [float(line["psnr_db"]) for line in csv.DictReader(file) if line["method"] == "telea"]
    with (folder / "after" / "results.csv").open(newline="") as file:
        new = [float(line["psnr_db"]) for line in csv.DictReader(file) if line["method"] == "telea"]
    mean = (sum(new) - sum(old)) / 2
    assert mean and f"{mean:+.3g}" in printed
    assert run("after", *options, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["against"] == "before"
    first, second = summary["standings"]
    assert first["difference"]["method"] == "telea" and second["difference"] is None
    found = first["difference"]["measures"]["psnr_db"]
    assert found["mean"] == pytest.approx(mean, abs=1e-4) and found["photographs"] == 2
    assert found["low"] == pytest.approx(min(np.subtract(new, old)), abs=1e-4)
    page = (folder / "after" / "report.html").read_text()
    assert "<h2>Against before</h2>" in page and f"{mean:+.3g}" in page and "n = 2" in page
    assert "Against" not in (folder / "before" / "report.html").read_text()


def test_a_mistake_costs_no_fill(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("after", "--method", "telea", "--against", "nowhere") == 2
    assert not (folder / "after").exists()
    assert run("after", "--method", "telea") == 0
    shutil.copytree("after", "copy")
    table = (folder / "copy" / "results.csv").read_bytes()
    for other in ("copy", "../" + folder.name + "/copy"):
        assert run("copy", "--method", "telea", "--against", other) == 2
    assert (folder / "copy" / "results.csv").read_bytes() == table
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 3 and errors[1].endswith("cannot be compared with itself: --against must be another folder.")
