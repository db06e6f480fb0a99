"""pytest-benchmark's options work with these benchmarks as its users know them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
OPTIONS = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "-k", "extract and forward and small and fp32"]
RUN = ["-m", "pytest", "benchmarks/bench_extract.py", *OPTIONS, "--benchmark-max-time=0.001"]
NAMES = [f"test_extract_patches[forward-cpu-small-fp32-{name}]" for name in ("op", "reference", "strided copy")]


def python(*arguments: str | Path, code: int = 0) -> str:
    """What a command prints, which must end with this code. On the CPU, so that the names are these."""
    command = [sys.executable, *map(str, arguments)]
    cpu = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=cpu, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


class Saved(NamedTuple):
    printed: str
    storage: Path
    json: Path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A run that is saved in both ways, with its table arranged otherwise."""
    folder = tmp_path_factory.mktemp("saved")
    storage, file = folder / "storage", folder / "results.json"
    options = [f"--benchmark-storage={storage}", "--benchmark-save=first", f"--benchmark-json={file}"]
    table = ["--benchmark-columns=median,rounds", "--benchmark-sort=fullname", "--benchmark-group-by=param:precision"]
    return Saved(python(*RUN, "--benchmark-only", *options, *table), storage, file)


def doctored(saved: Saved, folder: Path, factor: float) -> str:
    """--benchmark-storage with the saved run, as if everything had taken so many times as long."""
    (path,) = saved.storage.rglob("*.json")
    results = json.loads(path.read_text())
    for benchmark in results["benchmarks"]:
        benchmark["stats"] |= {name: factor * benchmark["stats"][name] for name in ("min", "max", "mean", "median")}
    copy = folder / path.relative_to(saved.storage)
    copy.parent.mkdir(parents=True)
    copy.write_text(json.dumps(results))
    return f"--benchmark-storage={folder}"


def test_saving(saved: Saved) -> None:
    (path,) = saved.storage.rglob("*.json")
    assert path.name == "0001_first.json"
    for file in (path, saved.json):
        results = json.loads(file.read_text())
        assert [benchmark["name"] for benchmark in results["benchmarks"]] == NAMES
        assert results["commit_info"].keys() == {"id", "time", "dirty"}


def test_columns_order_and_groups(saved: Saved) -> None:
    lines = saved.printed.splitlines()
    (title,) = (i for i, line in enumerate(lines) if "benchmark 'precision=fp32': 3 tests" in line)
    assert lines[title + 1].split()[-2:] == ["Median", "Rounds"]
    assert [line.split("  ")[0].strip() for line in lines[title + 3 : title + 6]] == NAMES


def test_comparison_with_a_slower_run(saved: Saved, tmp_path: Path) -> None:
    options = ["--benchmark-compare", "--benchmark-compare-fail=median:10%", "--benchmark-compare-fail=min:5%"]
    printed = python(*RUN, doctored(saved, tmp_path, 100), *options)
    for name in NAMES:
        assert f"{name} (NOW)" in printed and f"{name} (0001_first)" in printed
    ours = [line.split()[0] for line in printed.splitlines() if line.startswith("  ") and "GB/s" in line]
    assert ours == ["op", "reference", "strided"], "our own table is of this run alone"


def test_comparison_with_a_faster_run_fails(saved: Saved, tmp_path: Path) -> None:
    options = ["--benchmark-compare=0001", "--benchmark-compare-fail=median:10%"]
    printed = python(*RUN, doctored(saved, tmp_path, 0.01), *options, code=1)
    regressed = printed[printed.index("Performance has regressed") :]
    for name in NAMES:
        assert f"{name} (NOW)" in printed
        assert f"{name} (0001_first) - Field 'median' has failed" in regressed


def test_comparison_of_saved_runs(saved: Saved, tmp_path: Path) -> None:
    doctored(saved, tmp_path, 0.5)
    (first,) = tmp_path.rglob("*.json")
    first.with_name("0002_second.json").write_bytes(saved.json.read_bytes())
    table = tmp_path / "table.csv"
    command = ["-m", "pytest_benchmark", f"--storage={tmp_path}", "compare", "--columns=median", "--group-by=name"]
    printed = python(*command, f"--csv={table}")
    for name in NAMES:
        assert f"benchmark '{name}': 2 tests" in printed
        assert f"{name} (0001_first)" in printed and f"{name} (0002_second)" in printed
    assert len(table.read_text().splitlines()) == 1 + 2 * len(NAMES)


@pytest.mark.parametrize(
    ("option", "outcome"), [("--benchmark-skip", "3 skipped"), ("--benchmark-disable", "3 passed")]
)
def test_nothing_is_measured(option: str, outcome: str) -> None:
    printed = python("-m", "pytest", "benchmarks", *OPTIONS, option)
    assert outcome in printed and "median" not in printed


def test_histograms(tmp_path: Path) -> None:
    pytest.importorskip("pygal", reason="pytest-benchmark[histogram] is not installed")
    python(*RUN, f"--benchmark-histogram={tmp_path / 'histogram'}")
    (picture,) = tmp_path.glob("histogram*.svg")
    assert "strided copy" in picture.read_text()
