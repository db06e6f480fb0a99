"""The built package: what it needs, and what it must not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ABI_AUDIT = Path(sys.executable).with_name("torch-abi-audit")
needs_checkout = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="needs the source tree")


def extension_module() -> Path:
    spec = find_spec("neuralpatch_cuda._C")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_import_needs_no_tools():
    """No compiler, no nvcc, no home folder, no visible GPU."""
    script = "import neuralpatch_cuda; from neuralpatch_cuda import ops; print(ops.build_info()['cpu_isa'])"
    result = run(sys.executable, "-c", script, PATH="", HOME="/nonexistent", CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 0, result.stderr


def test_module_uses_the_limited_api():
    assert extension_module().name == "_C.abi3.so"


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_module_links_only_to_what_every_pytorch_has():
    needed = re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-d", str(extension_module())).stdout)
    assert needed
    forbidden = ("libcudart", "libc10_cuda", "libtorch_cuda", "libtorch_python", "libpython")
    assert not [name for name in needed if name.startswith(forbidden)]


@pytest.mark.skipif(not ABI_AUDIT.exists(), reason="needs torch-abi-audit")
def test_module_uses_the_stable_abi_of_the_oldest_pytorch():
    result = run(str(ABI_AUDIT), str(extension_module()))
    assert "STABLE" in result.stdout, result.stdout + result.stderr
    assert "2.10" in result.stdout, result.stdout


@needs_checkout
def test_only_the_bindings_see_torch():
    sources = [
        p for p in (ROOT / "csrc").rglob("*") if p.suffix in (".h", ".cpp", ".cu") and p.parent.name != "bindings"
    ]
    assert sources
    assert not [p for p in sources if re.search(r'#include\s*[<"](torch|ATen|c10)/', p.read_text())]


@needs_checkout
def test_bindings_include_only_stable_headers():
    for path in (ROOT / "csrc" / "bindings").iterdir():
        for header in re.findall(r"#include\s*<((?:torch|ATen|c10)/.*)>", path.read_text()):
            assert header.startswith(("torch/csrc/stable/", "torch/headeronly/")), f"{path.name}: {header}"


@needs_checkout
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"NEURALPATCH_CUDA": "1", "CUDA_HOME": "/nonexistent"}, "nvcc was not found"),
        ({"NEURALPATCH_CUDA": "maybe"}, "must be 0 or 1"),
    ],
)
def test_build_explains_a_wrong_choice(environment, message, tmp_path):
    command = (
        sys.executable,
        "setup.py",
        "-q",
        "build_ext",
        "--build-temp",
        str(tmp_path),
        "--build-lib",
        str(tmp_path),
    )
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert message in result.stderr
