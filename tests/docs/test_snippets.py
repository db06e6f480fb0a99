"""Every command and every Python block of the README and the documents runs."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from neuralpatch_cuda.cli import app

pytest.importorskip("sybil")
from sybil import Document, Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "docs").is_dir():
    pytest.skip("needs the source tree", allow_module_level=True)

QUICK = {
    "NEURALPATCH_ITERATIONS": "1",
    "NEURALPATCH_SCALES": "1",
    "NEURALPATCH_SAMPLES": "2",
    "NEURALPATCH_BATCH_SIZE": "2",
    "NEURALPATCH_WORKERS": "0",
    "NEURALPATCH_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "SLURM_ARRAY_TASK_ID": "1",
}
"""Environment of the commands."""

SUBSTITUTES = {
    # what: instead, and why
    r"^make": (f"make -n -C {ROOT}", "installs, or takes minutes: the target is there"),
    r"^pip install (\.|neuralpatch_cuda)": (
        "pip install --dry-run --no-index --no-deps neuralpatch_cuda",
        "needs a package index: the extras are looked up below",
    ),
    r"^pytest": (f"cd {ROOT} && pytest --collect-only -q -p no:cacheprovider", "takes minutes: something is selected"),
    r"^python (tools/compile_kernels.py)": (rf"python {ROOT}/\1 --help", "needs nvcc, and minutes"),
    r"--ray-address auto": ("--dry-run", "there is no cluster; tests/batch/test_ray.py starts one"),
    r"^neuralpatch serve\b([^#]*)": (r"neuralpatch serve --help \1", "does not end; tests/app use it"),
    r"/archive/": ("archive/", "a folder of the cluster"),
    r"--overfit 8": ("--overfit 8 --help", "takes minutes: it has such options; tests/training/test_train.py does it"),
    r"--(samples|batch-size) \d+": (r"--\1 2", "takes hours"),
    r"--data \.\.\.": ("--data photos/ --validation held-out/ --out runs/several", "is short for this"),
}
"""Of what cannot run here. Anything else runs as it is."""


OTHERS = {"--build-arg"}
"""Options in prose that are not of `neuralpatch`."""


def run_block(example: Example) -> None:
    """Run each command of a shell block, or what stands for it."""
    for command in commands(example.parsed):
        for pattern, (replacement, _) in SUBSTITUTES.items():
            command = re.sub(pattern, replacement, command)
        run(command)


def commands(text: str) -> Iterator[str]:
    """The logical lines of a shell block, without comments of their own."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def run(command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | QUICK | {"PATH": path, "HOME": os.getcwd()}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def check_manifest(example: Example) -> None:
    """The table is one that `neuralpatch batch` can read, and each row of it is something to do."""
    Path("table.csv").write_text(example.parsed)
    rows = list(csv.DictReader(example.parsed.splitlines()))
    plan = run("neuralpatch batch --manifest table.csv --output planned/ --dry-run")
    assert len(plan.splitlines()) == len(rows) > 0


def check_settings(example: Example) -> None:
    """The settings are options of `neuralpatch batch`."""
    Path("settings.toml").write_text(example.parsed)
    run("neuralpatch batch --config settings.toml --image scans/ --mask scratches.png --output planned/ --dry-run")


EVALUATORS = {
    "bash": run_block,
    "csv": check_manifest,
    "python": PythonEvaluator(),
    "toml": check_settings,
}
FREE = re.compile(r"\{(include|toctree|eval-rst)\}.*|text|sh")
"""Blocks that cannot be run here: directives, which the site's test sees to, and those for a server, tests/app."""

SYBIL = Sybil([CodeBlockParser(language, evaluator) for language, evaluator in EVALUATORS.items()])
PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
DOCUMENTS = {str(path.relative_to(ROOT)): SYBIL.parse(path) for path in PATHS}


def examples(document: Document, *languages: str) -> list[Example]:
    evaluators = [EVALUATORS[language] for language in languages]
    return [example for example in document.examples() if example.region.evaluator in evaluators]


BLOCKS = {
    f"{name}:{example.line}": example
    for name, document in DOCUMENTS.items()
    for example in examples(document, "bash", "csv", "toml")
}


@pytest.mark.parametrize("block", BLOCKS)
def test_commands_and_files(block: str, workplace: Path) -> None:
    for table in examples(BLOCKS[block].document, "csv")[:1]:
        Path("list.csv").write_text(table.parsed)
    BLOCKS[block].evaluate()


def test_nothing_is_replaced_in_vain() -> None:
    text = "\n".join(command for each in BLOCKS.values() for command in commands(each.parsed))
    assert not [pattern for pattern in SUBSTITUTES if not re.search(pattern, text, re.MULTILINE)]


@pytest.fixture
def given(workplace: Path) -> dict[str, Any]:
    """What the Python blocks take for given."""
    files = "photo.jpg", "other.jpg", "mask.png", "wall.png"
    image, another, mask, region = (Image.open(file) for file in files)
    return {
        "image": image,
        "mask": mask,
        "another": another,
        "region": region,
        "pairs": [(image, mask), (another, np.asarray(mask))],
        "names": ["one.png", "two.png"],
        "load": lambda name: (image, mask),
    }


@pytest.mark.parametrize("name", [name for name, document in DOCUMENTS.items() if examples(document, "python")])
def test_python(name: str, given: dict[str, Any]) -> None:
    document = DOCUMENTS[name]
    document.namespace.update(given)
    for example in examples(document, "python"):
        example.evaluate()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_block_is_checked(name: str) -> None:
    text = (ROOT / name).read_text()
    fenced = {region.lexemes["language"] for region in FencedCodeBlockLexer(".*")(Document(text, name))}
    assert not [language for language in fenced if language not in EVALUATORS and not FREE.fullmatch(language)]
    assert not re.findall(r"^ {4,}(?:neuralpatch|make|pip|pytest|python|docker) .*", prose(text), re.MULTILINE)


def prose(text: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def options() -> set[str]:
    """Of all commands."""
    group: Any = typer.main.get_command(app)
    everything = [parameter for command in (group, *group.commands.values()) for parameter in command.params]
    return {"--help", *(flag for parameter in everything for flag in (*parameter.opts, *parameter.secondary_opts))}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_prose_names_exists(name: str) -> None:
    """Options of `neuralpatch`, extras of the package and targets of the Makefile."""
    text = (ROOT / name).read_text()
    spans = re.findall(r"`((?:--|neuralpatch )[^`]+)`", prose(text))
    assert {flag for span in spans for flag in re.findall(r"(?<!\S)--[\w-]+", span)} <= options() | OTHERS
    project, makefile = ((ROOT / file).read_text() for file in ("pyproject.toml", "Makefile"))
    extras = re.findall(r"^(\w+) = ", project.split("[project.optional-dependencies]")[1].split("\n[")[0], re.MULTILINE)
    used = re.findall(r"pip install .*?(?:\.|neuralpatch_cuda)\[([\w,]+)\]", text)
    assert {extra for each in used for extra in each.split(",")} <= set(extras)
    targets = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
    assert set(re.findall(r"`make ([a-z]+)", text)) <= set(targets)
