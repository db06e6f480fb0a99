"""Fixtures: the emulated operators, as built from the sources of this moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from . import build


@pytest.fixture(scope="session")
def _module() -> ModuleType:
    if build.compiler() is None:
        pytest.skip("the emulation needs a C++ compiler")
    return build.load()


@pytest.fixture(scope="session")
def sanitized() -> Path:
    """The folder of the module built with sanitizers."""
    if build.compiler() is None:
        pytest.skip("the emulation needs a C++ compiler")
    return build.build(sanitize=True)


@pytest.fixture
def emulation(_module: ModuleType) -> Iterator[ModuleType]:
    """The module, with its settings as they are by default."""
    yield _module
    _module.set_thread_order(0)
    _module.set_compute_capability(90)
    _module.set_fresh_byte(0xFF)
