"""Builds the emulated operators as a Python module, with g++ and nothing else.

    python -m tests.emulation.build [--sanitize]      prints the folder that holds neuralpatch_emulation.so

The folder, below the repository's ``build``, is named after a hash of everything that goes in, so that a
build is done once per state of the sources.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType

import pybind11

from . import cu2cpp

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"
MODULE = "neuralpatch_emulation"

_WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
_FAST = ["-O2"]
_SANITIZED = ["-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-sanitize=vptr"]


def compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


def kernel_files() -> list[Path]:
    return sorted(CSRC.glob("cuda/*.cu")) + sorted(HERE.glob("*.cu"))


def include_flags() -> list[str]:
    own = [HERE / "include", HERE, CSRC, CSRC / "include"]
    return [f"-I{folder}" for folder in own] + [
        f"-isystem{pybind11.get_include()}",
        f"-isystem{sysconfig.get_path('include')}",
    ]


def source_hash(flags: list[str]) -> str:
    files = [*kernel_files(), *HERE.glob("*.cpp"), *HERE.glob("*.h"), HERE / "build.py", HERE / "cu2cpp.py"]
    for folder in (HERE / "include", CSRC / "core", CSRC / "cuda", CSRC / "include"):
        files += folder.rglob("*.h")
    digest = hashlib.sha256(" ".join([sys.version, *flags]).encode())
    for path in sorted(files):
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def build(sanitize: bool = False) -> Path:
    """Builds the module if it has not been built yet, and returns the folder it lies in."""
    program = compiler()
    if program is None:
        raise RuntimeError("the emulation needs a C++ compiler: install g++ or set CXX")
    flags = ["-std=c++17", "-fPIC", "-fvisibility=hidden", *_WARNINGS, *(_SANITIZED if sanitize else _FAST)]
    folder = ROOT / "build" / "emulation" / f"{'sanitized' if sanitize else 'fast'}-{source_hash(flags)}"
    module = folder / f"{MODULE}.so"
    if module.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        # The headers of csrc/cuda hold device code too: rewritten copies come first on the include path.
        for path in CSRC.glob("cuda/**/*.h"):
            converted = Path(work) / path.relative_to(CSRC)
            converted.parent.mkdir(parents=True, exist_ok=True)
            converted.write_text(cu2cpp.convert_file(path))
        objects: list[str] = []
        for path in [*kernel_files(), HERE / "module.cpp"]:
            source = path
            if path.suffix == ".cu":
                source = Path(work) / f"{path.stem}.cpp"
                source.write_text(cu2cpp.convert_file(path))
            target = Path(work) / f"{path.stem}.o"
            subprocess.run(
                [program, *flags, f"-I{work}", *include_flags(), "-c", str(source), "-o", str(target)],
                check=True,
            )
            objects.append(str(target))
        linked = Path(work) / module.name
        subprocess.run([program, *flags, "-shared", *objects, "-o", str(linked)], check=True)
        linked.rename(module)  # last, so that an interrupted build leaves no module behind
    return folder


def load() -> ModuleType:
    """The module, built without sanitizers."""
    path = build() / f"{MODULE}.so"
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the emulated operators.")
    parser.add_argument("--sanitize", action="store_true", help="with the address and undefined-behaviour sanitizers")
    print(build(parser.parse_args().sanitize))
