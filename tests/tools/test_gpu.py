"""`make gpu`, as far as it can be tested without a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tools import gpu

ROOT = Path(__file__).parents[2]
DEVICE = {"torch": "2.11.0", "cuda": "13.0", "name": "A GPU 80GB", "capability": "9.0"}


def test_requirements_are_those_of_the_package():
    project = (ROOT / "pyproject.toml").read_text()
    dependencies = re.search(r"\ndependencies = \[(.*?)\n\]", project, re.DOTALL)
    assert dependencies
    always = {each for each in re.findall(r'"(.*?)"', dependencies[1]) if ";" not in each}
    assert always <= set(gpu.REQUIREMENTS)


def test_missing_and_old_packages_are_named():
    def version(name: str) -> str:
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return {"torch": "2.9.1+cu130", "typer": "0.100", "setuptools": "77.0.1"}.get(name, "3")

    assert gpu.too_old_or_missing(version) == ["torch>=2.10", "scipy"]


def test_missing_packages_end_in_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "too_old_or_missing", lambda: ["pydantic>=2", "rich"])
    assert gpu.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "lacks pydantic>=2, rich" in line and "-d wheels pydantic rich`" in line and "WHEELS=wheels" in line


def test_no_gpu_ends_in_one_sentence():
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = ["make", "--no-print-directory", "gpu", f"PYTHON={sys.executable}", "STEPS=build tests"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    sentence, *rest = done.stderr.splitlines()
    assert "sees no GPU" in sentence
    assert all(line.startswith("make") for line in rest)


def test_no_wheels(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        gpu.main(["--wheels", str(tmp_path)])
    assert error.value.code == 2
    assert capsys.readouterr().err == f"There are no wheels in {tmp_path}.\n"


def test_every_step_runs_and_failures_are_told(tmp_path, monkeypatch, capsys):
    steps = [
        gpu.Step("first", [sys.executable, "-c", f"print('in {ROOT}'); raise SystemExit(3)"]),
        gpu.Step("second", ["no-such-command"]),
        gpu.Step("third", [sys.executable, "-c", "import os; print(os.environ['GIVEN'])"], {"GIVEN": "a value"}),
    ]
    monkeypatch.setattr(gpu, "all_steps", lambda folder, capability: steps)
    monkeypatch.setattr(gpu, "PROBE", f"print({json.dumps(json.dumps(DEVICE))})")
    assert gpu.main(["--out", str(tmp_path)]) == 1
    folder = tmp_path / "a-gpu-80gb"
    report = json.loads((folder / "gpu.json").read_text())
    outcomes = [step["outcome"] for step in report["steps"]]
    assert outcomes == ["failed, exit code 3", "failed, no-such-command was not found", "passed"]
    assert (folder / "first.log").read_text() == "in .\n"
    assert (folder / "third.log").read_text() == "a value\n"
    assert "third" in capsys.readouterr().out.partition("== summary")[2]

    assert gpu.main(["--out", str(tmp_path), "--steps", "third"]) == 0


def test_steps_for_a_gpu(tmp_path):
    steps = {step.name: step for step in gpu.all_steps(tmp_path / "device", "9.0")}
    assert list(steps) == ["build", "load", "tests", "memcheck", "racecheck", "benchmarks", "profile"]
    assert steps["build"].environment == {"NEURALPATCH_CUDA": "1", "NEURALPATCH_CUDA_ARCHS": "90"}
    assert str(tmp_path) in steps["benchmarks"].command
    for step in steps.values():  # files named in a command are there
        for argument in step.command[1:]:
            if argument.startswith(("examples/", "tests/")) or argument == "setup.py":
                assert (ROOT / argument).exists(), argument
