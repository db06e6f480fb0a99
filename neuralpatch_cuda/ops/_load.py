"""Loads the extension module, which registers `torch.ops.neuralpatch`."""

from __future__ import annotations

import importlib

import torch  # noqa: F401  (the extension module needs its libraries)

try:
    importlib.import_module("neuralpatch_cuda._C")
except ImportError as error:
    raise ImportError(
        f"the extension module neuralpatch_cuda._C cannot be loaded ({error}); install the package again "
        "with `pip install --no-build-isolation .` so that it is built against the installed PyTorch"
    ) from error
