"""All kernels under the address and undefined-behaviour sanitizers, and proof that faults are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from . import build

PASS = Path(__file__).with_name("sanitizer_pass.py")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """sanitizer_pass.py in a process of its own, which the sanitizers' runtime is loaded into first."""
    libraries = []
    for name in ("libasan.so", "libubsan.so"):
        query = [str(build.compiler()), f"-print-file-name={name}"]
        path = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
        if not Path(path).is_absolute():
            pytest.skip(f"the compiler has no {name}")
        libraries.append(path)
    environment = os.environ | {
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    command = [sys.executable, str(PASS), str(folder), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_kernels_are_clean(sanitized: Path) -> None:
    result = run(sanitized)
    assert result.returncode == 0 and "finished" in result.stdout, result.stderr[-4000:]
    assert "runtime error" not in result.stderr and "Sanitizer" not in result.stderr, result.stderr[-4000:]


@pytest.mark.parametrize("fault", ["global_overflow", "shared_overflow", "dynamic_overflow"])
def test_overflows_are_found(sanitized: Path, fault: str) -> None:
    result = run(sanitized, fault)
    assert result.returncode != 0
    assert "AddressSanitizer" in result.stderr or "runtime error" in result.stderr
    assert "faulty_kernels.cu" in result.stderr


def test_missing_barrier_is_found(emulation: ModuleType) -> None:
    """Without the barrier, the result holds values that nobody wrote, in every order of the threads."""
    expected = np.arange(64, dtype=np.float32)[::-1]
    for order in (0, -1, 3):
        emulation.set_thread_order(order)
        np.testing.assert_array_equal(emulation.faulty.reverse(True), expected)
        assert np.isnan(emulation.faulty.reverse(False)).any()


def test_missing_wait_is_found(emulation: ModuleType) -> None:
    np.testing.assert_array_equal(emulation.faulty.async_copy(True), np.arange(128))
    assert np.isnan(emulation.faulty.async_copy(False)).all()


def test_divergent_barrier_is_found(emulation: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"divergent __syncthreads: .*faulty_kernels\.cu:\d+ and .*"):
        emulation.faulty.divergent_barrier()


def test_deadlock_is_found(emulation: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="deadlock: 16 of 32 live threads"):
        emulation.faulty.barrier_against_shuffle()


def test_launch_limits(emulation: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="invalid configuration"):
        emulation.faulty.too_many_threads()
