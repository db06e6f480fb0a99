"""High-resolution image inpainting by multi-scale neural patch synthesis, with hand-written CUDA and CPU kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuralpatch_cuda.config import InpaintConfig

if TYPE_CHECKING:
    from neuralpatch_cuda.inpainter import Inpainter, InpaintResult, inpaint

__all__ = ["InpaintConfig", "InpaintResult", "Inpainter", "inpaint"]


def __getattr__(name: str) -> Any:
    # PyTorch takes a second to import; the command line's --help and the configuration do not need it.
    if name in __all__:
        from neuralpatch_cuda import inpainter

        return getattr(inpainter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
