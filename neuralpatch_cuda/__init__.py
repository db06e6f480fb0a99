"""High-resolution image inpainting by multi-scale neural patch synthesis, with hand-written CUDA and CPU kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuralpatch_cuda.config import InpaintConfig

if TYPE_CHECKING:
    from neuralpatch_cuda.inpainter import Inpainter, InpaintResult, inpaint

__version__: str
__all__ = ["InpaintConfig", "InpaintResult", "Inpainter", "inpaint"]


def __getattr__(name: str) -> Any:
    # PyTorch takes a second to import; the command line's --help and the configuration do not need it.
    if name in __all__:
        from neuralpatch_cuda import inpainter

        return getattr(inpainter, name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("neuralpatch_cuda")
        except PackageNotFoundError:
            raise AttributeError("neuralpatch_cuda is not installed, so it has no __version__") from None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
