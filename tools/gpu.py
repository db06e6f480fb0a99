"""Everything that needs a GPU, with one command: build, tests, compute-sanitizer, benchmarks, profile.

    make gpu [PYTHON=python3] [WHEELS=folder] [STEPS="build tests"]

Runs in a Python that holds a PyTorch with CUDA, and needs no network: the extension is built in place, for this GPU
only, and packages that are missing come from a folder of wheels, which are unpacked under build/ and not installed.
Logs, the benchmarks' JSON and the trace are collected in benchmarks/results/DEVICE. A step that fails does not keep the
next ones from running. Exit codes: 0 all steps passed, 1 some failed, 2 nothing could be run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from benchmarks.slug import slug

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "build" / "wheels"
REQUIREMENTS = (
    *(
        "torch>=2.10",
        "filelock",
        "numpy",
        "pillow",
        "psutil",
        "scipy",
        "pydantic>=2",
        "typer>=0.29",
        "typing_extensions",
        "rich",
    ),
    *("safetensors", "pyvips", "pyvips-binary", "pytest", "pytest-benchmark", "setuptools>=77"),
)
PROBE = """
import json, torch
found = {"torch": torch.__version__, "cuda": torch.version.cuda, "name": None}
if torch.cuda.is_available():
    properties = torch.cuda.get_device_properties(0)
    found |= {"name": properties.name, "capability": f"{properties.major}.{properties.minor}"}
    found |= {"memory_gib": round(properties.total_memory / 2**30, 1)}
print(json.dumps(found))
"""
LOADED = """
import sys
from neuralpatch_cuda import ops
print(ops.build_info())
sys.exit(0 if ops.build_info()["cuda"] == "yes" else "The extension was built without CUDA.")
"""
# Small inputs, each kernel in each dtype. One memory layout and no graphs: a sanitizer is slow, and without the
# allocator's cache, which would hide accesses past the end, nothing can be captured.
SANITIZED = ("tests/ops", "-k", "cuda and not sliced and not opcheck and not graph")
TIMEOUT = 1800
TAIL = 15


@dataclass
class Step:
    """A command whose exit code says whether it passed; its output goes to `name`.log."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    step: str
    outcome: str
    seconds: float


def too_old_or_missing(version: Callable[[str], str] = metadata.version) -> list[str]:
    missing = []
    for requirement in REQUIREMENTS:
        name, _, least = requirement.partition(">=")
        try:
            found = version(name)
        except metadata.PackageNotFoundError:
            missing.append(requirement)
            continue
        if least and _numbers(found) < _numbers(least):
            missing.append(requirement)
    return missing


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.split("+")[0])]


def unpack(wheels: Path) -> None:
    """Makes the wheels importable here and in the steps. Their own requirements are not looked at."""
    files = sorted(str(file) for file in wheels.glob("*.whl"))
    if not files:
        raise SystemExit(_complain(f"There are no wheels in {wheels}."))
    shutil.rmtree(SITE, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(SITE), *files]
    if subprocess.run(pip, check=False).returncode != 0:
        raise SystemExit(_complain(f"The wheels in {wheels} do not fit {sys.executable}: see above."))


def all_steps(folder: Path, capability: str) -> list[Step]:
    python = sys.executable
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    sanitize = [sanitizer, "--error-exitcode", "99", "--target-processes", "all", "--report-api-errors", "no"]
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    build = {"NEURALPATCH_CUDA": "1", "NEURALPATCH_CUDA_ARCHS": capability.replace(".", "")}
    profile = ["profile", "examples/photo.jpg", "examples/mask.png", "--trace", str(folder / "trace.json")]
    return [
        Step("build", [python, "setup.py", "build_ext", "--inplace", "--force"], build),
        Step("load", [python, "-c", LOADED]),
        Step("tests", [*pytest, "-ra"]),
        Step(
            "memcheck", [*sanitize, "--tool", "memcheck", *pytest, *SANITIZED], {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        ),
        Step("racecheck", [*sanitize, "--tool", "racecheck", *pytest, *SANITIZED]),
        Step("benchmarks", [python, "-m", "benchmarks.run", "--out", str(folder.parent)]),
        Step("profile", [python, "-m", "neuralpatch_cuda.cli", *profile]),
    ]


def run(step: Step, folder: Path) -> Outcome:
    print(f"\n== {step.name}", flush=True)
    paths = [str(SITE), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | step.environment
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{step.name}.log"
    start = time.monotonic()
    try:
        with log.open("w") as output:
            done = subprocess.run(
                step.command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, timeout=TIMEOUT
            )
        outcome = "passed" if done.returncode == 0 else f"failed, exit code {done.returncode}"
    except FileNotFoundError:
        outcome = f"failed, {step.command[0]} was not found"
    except subprocess.TimeoutExpired:
        outcome = f"failed, stopped after {TIMEOUT} s"
    text = anonymous(log.read_text(errors="replace"))
    log.write_text(text)
    print("\n".join([*text.splitlines()[-TAIL:], outcome]), flush=True)
    return Outcome(step.name, outcome, round(time.monotonic() - start, 1))


def anonymous(text: str) -> str:
    """Without this machine's paths and its name."""
    for private, shown in ((str(ROOT), "."), (sys.prefix, "PYTHON"), (str(Path.home()), "~")):
        if len(private) > 1:
            text = text.replace(private, shown)
    host = platform.node()
    return re.sub(rf"\b{re.escape(host)}\b", "HOST", text) if host else text


def _complain(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


def main(arguments: Sequence[str] | None = None) -> int:
    names = [step.name for step in all_steps(Path(), "")]
    parser = argparse.ArgumentParser(prog="make gpu", description="Build, test, check, measure and profile on a GPU.")
    parser.add_argument("--wheels", type=Path, help="folder of wheels of packages that this Python lacks")
    parser.add_argument("--steps", nargs="+", choices=names, default=names, metavar="STEP", help=", ".join(names))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the results")
    options = parser.parse_args(arguments)

    if options.wheels:
        unpack(options.wheels)
    sys.path.insert(0, str(SITE))  # an earlier call may have unpacked wheels
    if missing := too_old_or_missing():
        names_only = " ".join(requirement.partition(">=")[0] for requirement in missing)
        return _complain(
            f"{sys.executable} lacks {', '.join(missing)}: where there is a network, run `pip download "
            f"--only-binary=:all: -d wheels {names_only}` with the same Python version, copy the folder here, and call "
            "`make gpu WHEELS=wheels`."
        )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")])}
    probe = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True)
    device = json.loads(probe.stdout)
    if device["name"] is None:
        return _complain(
            f"PyTorch {device['torch']} of {sys.executable} sees no GPU: run this on a machine with an NVIDIA GPU, in "
            "a Python that holds a PyTorch with CUDA (make gpu PYTHON=...)."
        )

    print(", ".join(f"{key} {value}" for key, value in device.items()), flush=True)
    folder = options.out.resolve() / slug(device["name"])
    steps = [step for step in all_steps(folder, device["capability"]) if step.name in options.steps]
    outcomes = [run(step, folder) for step in steps]
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    report = {"device": device, "date": date, "steps": [asdict(outcome) for outcome in outcomes]}
    (folder / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    print("\n== summary")
    for outcome in outcomes:
        print(f"{outcome.step:<12}{outcome.seconds:>8.1f} s  {outcome.outcome}")
    print(f"Logs and results are in {folder}.")
    return 0 if all(outcome.outcome == "passed" for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
