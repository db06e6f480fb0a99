"""What a release is made of: version, citation, source distribution, hooks, workflows and the build of the wheels."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

import neuralpatch_cuda
from tools import check_release

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]
CIBUILDWHEEL = PROJECT["tool"]["cibuildwheel"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def output_of(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


# Version and citation


def test_version_is_that_of_the_project():
    assert neuralpatch_cuda.__version__ == VERSION, "install again after a change of the version"


def test_version_of_a_checkout_that_is_not_installed(monkeypatch):
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert getattr(neuralpatch_cuda, "__version__", None) is None


def test_citation():
    citation = read_yaml("CITATION.cff")
    assert (citation["cff-version"], citation["title"]) == ("1.2.0", PROJECT["project"]["name"])
    assert (str(citation["version"]), citation["license"]) == (VERSION, PROJECT["project"]["license"])
    assert citation["authors"] == PROJECT["project"]["authors"]
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Yang", "Lu", "Lin", "Shechtman", "Wang", "Li"]
    assert paper["title"].lower() in " ".join((ROOT / "README.md").read_text().lower().split())


@pytest.mark.parametrize(
    ("tag", "cited", "heading", "problems"),
    [
        ("v1.2.3", "1.2.3", "[1.2.3] - 2026-11-26", []),
        ("1.2.3", "1.2.3", "[1.2.3] - 2026-11-26", ["The tag is 1.2.3, but pyproject.toml says version 1.2.3."]),
        ("v1.2.3", "1.2.2", "[1.2.3] - 2026-11-26", ["CITATION.cff says version 1.2.2, pyproject.toml 1.2.3."]),
        ("v1.2.3", "1.2.3", "[Unreleased]", ["CHANGELOG.md has no section [1.2.3] with a date."]),
    ],
)
def test_check_of_a_release(tag, cited, heading, problems, tmp_path, monkeypatch, capsys):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "package"\nversion = "1.2.3"\n')
    (tmp_path / "CITATION.cff").write_text(f"cff-version: 1.2.0\nversion: {cited}\n")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n")
    monkeypatch.setattr(check_release, "ROOT", tmp_path)
    assert check_release.main([tag]) == (1 if problems else 0)
    assert capsys.readouterr().err.splitlines() == problems


def test_check_of_a_release_reads_the_files_of_the_project(capsys):
    check_release.main([f"v{VERSION}"])
    assert not [line for line in capsys.readouterr().err.splitlines() if "pyproject.toml" in line]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")
def test_source_distribution_holds_all_files(tmp_path):
    output_of(sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", str(tmp_path))
    (listing,) = tmp_path.rglob("SOURCES.txt")
    tracked = {name for name in output_of("git", "ls-files").splitlines() if (ROOT / name).exists()}
    assert tracked - set(listing.read_text().splitlines()) == {".gitignore"}


# Hooks


def test_hooks_are_the_commands_of_make_lint():
    first, hygiene = read_yaml(".pre-commit-config.yaml")["repos"]
    commands = output_of(
        "make", "--no-print-directory", "--dry-run", "--assume-old=.venv/installed", "lint"
    ).splitlines()
    assert [hook["entry"] for hook in first["hooks"]] == [re.sub(r" (\.|\$\(find .*\))$", "", c) for c in commands]
    assert len({str(hook["additional_dependencies"]) for hook in hygiene["hooks"]}) == 1

    (search,) = re.findall(r"\$\((find .*)\)", "\n".join(commands))
    pattern = re.compile(first["hooks"][-1]["files"])
    files = {str(path.relative_to(ROOT)) for top in ("csrc", "tests") for path in (ROOT / top).rglob("*")}
    assert {name for name in files if pattern.search(name)} == set(output_of("sh", "-c", search).split())


# Workflows


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    names = set()
    for job in workflow["jobs"].values():
        assert set(job.get("needs", [])) <= set(workflow["jobs"])
        for step in job["steps"]:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(release/)?v\d+", step.get("uses", "actions/none@v0")), step
            names |= set(re.findall(r"(?:^|\s)((?:\.ci|tools)/\S+)", step.get("run", "")))
    assert names
    assert not [name for name in names if not (ROOT / name).is_file()]


def test_workflows():
    assert [path.stem for path in WORKFLOWS] == ["ci", "wheels"]
    (job,) = read_yaml(".github/workflows/ci.yml")["jobs"].values()
    assert job["steps"][-1] == {"run": ".ci/run"}
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert f"FROM {job['container']} " in (ROOT / "Dockerfile").read_text()


# Wheels


def test_wheels_are_for_the_oldest_python_and_tested_with_the_oldest_torch():
    python = PROJECT["project"]["requires-python"].removeprefix(">=").replace(".", "")
    assert CIBUILDWHEEL["build"] == f"cp{python}-manylinux_*"
    assert f'"py_limited_api": "cp{python}"' in (ROOT / "setup.py").read_text()
    (torch,) = [each for each in PROJECT["project"]["dependencies"] if each.startswith("torch>=")]
    assert torch.replace(">=", "==") + ".*" in CIBUILDWHEEL["test-requires"]


def test_wheels_are_tested_with_tests_that_are_there():
    for source in CIBUILDWHEEL["test-sources"]:
        assert list((ROOT / source).glob("test_*.py"))
        assert any(source in command.split() for command in CIBUILDWHEEL["test-command"])


def test_wheels_are_built_with_one_version_of_cuda():
    (version,) = set(re.findall(r"nvidia/cuda:(\d+\.\d+)", (ROOT / "Dockerfile").read_text()))
    linux = CIBUILDWHEEL["linux"]
    assert set(re.findall(r"nvidia-[\w-]+==([\d.]+)\.\*", linux["before-all"])) == {version}
    assert linux["environment"]["CUDA_HOME"].endswith(f"/cu{version.partition('.')[0]}")
    assert {"NEURALPATCH_CUDA", "NEURALPATCH_CUDA_ARCHS", "MAX_JOBS"} == set(linux["environment-pass"])
    assert all(name in (ROOT / "setup.py").read_text() for name in linux["environment-pass"])


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_wheels_do_not_hold_the_libraries_of_pytorch():
    spec = find_spec("neuralpatch_cuda._C")
    assert spec is not None and spec.origin is not None
    needed = set(re.findall(r"NEEDED.*\[(lib(?:torch|c10).*)\]", output_of("readelf", "-d", spec.origin)))
    excluded = set(re.findall(r"--exclude (\S+)", CIBUILDWHEEL["linux"]["repair-wheel-command"]))
    assert needed
    assert needed <= excluded
