"""The commands `evaluate` and `ablate`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from neuralpatch_cuda import cli

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the folder `photographs`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, *options: str) -> int:
    return cli.main([command, "--image", "photographs", "--output", "out", *options])


def test_evaluate_measures_and_reports(folder: Path, capsys: Output) -> None:
    methods = ["--method", "telea", "--method", "ours: neuralpatch iterations=1 scales=1"]
    assert run("evaluate", "--hole", "centre", *methods) == 0
    printed = capsys.readouterr()
    assert re.search(r"telea +2 ", printed.out) and re.search(r"ours +2 ", printed.out)
    assert printed.out.strip().endswith("out/report.html")
    assert "4/4" in printed.err
    made = {"results.csv", "summary.json", "report.html", "fills.png", "fills"}
    assert {path.name for path in (folder / "out").iterdir()} >= made
    assert run("evaluate", "--hole", "centre", "--method", "telea", "--json") == 0
    printed = capsys.readouterr()
    assert [each["method"] for each in json.loads(printed.out)["standings"]] == ["telea"] and not printed.err


def test_evaluate_says_what_failed(folder: Path, capsys: Output) -> None:
    assert run("evaluate", "--hole", "thin", "--method", "released", "--quiet") == 1
    assert "2 failed" in capsys.readouterr().out
    assert "29/128 of the side" in (folder / "out" / "results.csv").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hole", "round"], "The hole must be one of centre"),
        (["--hole", "centre", "--mask", "photographs"], "not both"),
        (["--hole", "centre", "--method", "magic"], "There is no method 'magic'"),
        (["--hole", "centre", "--method", "lama"], "missing a required argument: 'model'"),
        (["--hole", "centre", "--method", "telea", "--method", "telea"], "the same name"),
        ([], "has no mask"),
    ],
)
def test_evaluate_refuses_what_it_cannot_do(options: list[str], message: str, capsys: Output) -> None:
    assert run("evaluate", "--quiet", *options) == 2
    printed = capsys.readouterr().err
    assert message in printed and len(printed.strip().splitlines()) == 1


@pytest.mark.parametrize("package", ["skimage", "jinja2", "torchmetrics", "matplotlib"])
@pytest.mark.parametrize("command", ["evaluate", "ablate"])
def test_a_package_that_is_missing_is_named_before_anything_is_filled(
    command: str, package: str, folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name == package else object())
    assert run(command, "--hole", "centre", "--quiet") == 2
    assert capsys.readouterr().err == (
        f"Error: Evaluating needs the package {package}; install it with: pip install neuralpatch_cuda[evaluate]\n"
    )
    assert not (folder / "out").exists()


def test_ablate(folder: Path, capsys: Output) -> None:
    assert run("ablate", "--hole", "centre", "--study", "search", "--quiet") == 0
    printed = capsys.readouterr().out
    assert "Does PatchMatch find matches" in printed and re.search(r"exact +2 ", printed)
    assert (folder / "out" / "search.png").exists() and (folder / "out" / "search.csv").exists()
    assert run("ablate", "--hole", "centre", "--study", "beta") == 2
    assert "There is no study 'beta'" in capsys.readouterr().err
