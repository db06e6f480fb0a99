"""Content networks of other makers: TorchScript files and Python callables with the convention of LaMa's exports.

The convention is that of `big-lama.pt`, as IOPaint and simple-lama use it (LaMa: Suvorov et al., WACV 2022): a call
with `image` and `mask` returns the filled image.

- image: `[B, 3, H, W]`, float32, RGB in [0, 1], 0 inside the hole; H and W are multiples of 8.
- mask: `[B, 1, H, W]`, float32, 1 inside the hole and 0 outside.
- result: `[B, 3, H, W]`, float (not 8-bit), RGB in [0, 1].

Unlike weights, these are programs: give only what you trust. TorchScript unpickles no Python object and runs no
Python, but its operators can read and write files; a Python callable can do anything.
"""

from __future__ import annotations

import os
import pkgutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuralpatch_cuda.errors import NetworkError, WeightsError

Predict = Callable[[Tensor, Tensor], Tensor]
"""A callable with the convention above."""

FOREIGN_SIDE = 512
"""Short side in pixels at which networks of other makers see a window: LaMa was trained on crops of 256 px, and
handles larger images well."""

MULTIPLE = 8
"""What LaMa's exports need height and width to be a multiple of."""

TORCHSCRIPT_SUFFIXES = (".pt", ".pth", ".ts", ".jit", ".torchscript")


class ForeignNetwork(nn.Module):
    """Calls a network of another maker as the library calls its own."""

    side = FOREIGN_SIDE

    def __init__(self, predict: Predict, name: str | None = None) -> None:
        """Wrap a callable.

        Args:
            predict: a callable with the convention above. A module becomes part of this one: it moves to the same
                device and is set to evaluation mode.
            name: what error messages call it; by default its own name.
        """
        super().__init__()
        self.predict = predict
        self.name = name or getattr(predict, "__qualname__", type(predict).__name__)
        self.eval()

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: `[B, 3, H, W]`, float, RGB in [0, 1]; values inside the hole are ignored.
            mask: `[B, 1, H, W]`, same dtype, 1 inside the hole and 0 outside.

        Returns:
            `[B, 3, H, W]`: the image with the hole replaced by the prediction; known pixels are passed through.

        Raises:
            NetworkError: the callable fails, or what it returns does not keep to the convention.
        """
        height, width = image.shape[-2:]
        hole = mask > 0
        pad = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        # Replication also works where an image is narrower than its padding, which reflection does not.
        padded = [F.pad(x, pad, mode="replicate") for x in (torch.where(hole, 0, image), hole.to(image.dtype))]
        try:
            out = self.predict(*padded)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # it may raise anything
            size = f"{padded[0].shape[-1]} x {padded[0].shape[-2]} px"
            raise NetworkError(f"The content network {self.name} failed at {size} ({_reason(error)}).") from error
        self._check(out, padded[0].shape)
        return torch.where(hole, out[..., :height, :width].to(image), image)

    def _check(self, out: object, shape: Sequence[int]) -> None:
        wrong: object
        if not isinstance(out, Tensor):
            wrong = type(out).__name__
        elif out.shape != shape:
            wrong = list(out.shape)
        elif not out.is_floating_point():
            wrong = out.dtype
        elif not out.isfinite().all():
            wrong = "NaN or infinity"
        else:
            return
        raise NetworkError(
            f"The content network {self.name} must return a float tensor {list(shape)} with values in [0, 1], "
            f"not {wrong}."
        )


def import_callable(text: str, what: str = "content network") -> Callable[..., Any]:
    """What an import string, `package.module:function`, stands for; `what` it is to be goes into error messages.

    Modules in the current directory can be imported, as with uvicorn and gunicorn: it becomes the first entry of
    `sys.path`, and stays there, since what is imported may itself import when it is called.

    Raises:
        NetworkError: there is no such module or function, the module cannot be imported, or it is not a function.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = pkgutil.resolve_name(text)
    except Exception as error:  # importing runs the module, which may raise anything
        raise NetworkError(f"The {what} {text} cannot be imported ({_reason(error)}).") from error
    if not callable(found):
        raise NetworkError(f"The {what} {text} must be a function, not {type(found).__name__}.")
    function: Callable[..., Any] = found
    return function


def load_torchscript(path: Path) -> nn.Module:
    """Load a network that `torch.jit.save` wrote, on the CPU.

    Raises:
        WeightsError: the file is damaged or not TorchScript, or the network does not take an image and a mask.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.rpartition("/")[2] for name in archive.namelist()}
        if "data.pkl" in members and "constants.pkl" not in members:
            raise WeightsError(f"{path} holds weights without their network; save the network with `torch.jit.save`.")
        with warnings.catch_warnings():
            # Its successor, torch.export, fixes the image's size unless told otherwise; LaMa is spread as TorchScript.
            warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
            network: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except WeightsError:
        raise
    except Exception as error:  # both readers raise many types for damaged files
        raise WeightsError(f"{path} is not a readable TorchScript file; it is damaged or of another format.") from error
    forward: Any = getattr(network, "forward", None)
    arguments = forward.schema.arguments[1:] if forward else []
    if not len([a for a in arguments if not a.has_default_value()]) <= 2 <= len(arguments):
        names = ", ".join(argument.name for argument in arguments)
        raise WeightsError(f"{path} is of another network: it takes ({names}) instead of (image, mask).")
    return network


def may_be_torchscript(path: Path) -> bool:
    """Whether it says so by its suffix or, being a zip archive, by its content; weights of the library are neither."""
    with path.open("rb") as file:
        return path.suffix in TORCHSCRIPT_SUFFIXES or file.read(4) == b"PK\x03\x04"


def _reason(error: Exception) -> str:
    """An error as one line: its first, or its last if it is from TorchScript, which puts a traceback before it."""
    lines = f"{type(error).__name__}: {error}".strip().splitlines()
    return lines[-1 if "TorchScript interpreter" in lines[0] else 0].rstrip(":. ")
