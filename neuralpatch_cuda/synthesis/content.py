"""What the option `content_network` stands for: a network of the library or of another maker, or patches alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from neuralpatch_cuda.networks.content import ContentNetwork
from neuralpatch_cuda.networks.context_encoder import ContextEncoder
from neuralpatch_cuda.networks.foreign import (
    ForeignNetwork,
    Predict,
    import_callable,
    load_torchscript,
    may_be_torchscript,
)
from neuralpatch_cuda.networks.weights import CONTENT_NETWORKS, UnknownWeightsError, load_content_network
from neuralpatch_cuda.synthesis.exemplar import CombinedContent, ExemplarContent

ContentReference = ContentNetwork | ContextEncoder | ForeignNetwork | ExemplarContent | CombinedContent

PATCH_BASED: dict[str, Callable[[], ExemplarContent | CombinedContent]] = {
    "exemplar": ExemplarContent,
    "combined": lambda: CombinedContent(load_content_network(), ExemplarContent()),
}
"""Names of what fills the hole from the photograph's own patches: with no network, and guided by the default one."""


def resolve_content_network(source: str | Path | Predict) -> ContentReference:
    """The content network that the option `content_network` stands for, on the CPU and in evaluation mode.

    Args:
        source: a name in `CONTENT_NETWORKS` or `PATCH_BASED`; the path of a file that `save_content_network` wrote, or
            of a TorchScript file; an import string, `package.module:function`; or a callable. TorchScript and callables
            have the convention of `networks/foreign.py`, but a network of the library's own is used as such.

    Raises:
        FileNotFoundError: the path does not exist.
        UnknownWeightsError: the name is unknown; also a `ValueError`.
        WeightsError: the file is damaged, or holds something else than a content network.
        NetworkError: the import string leads to nothing that can be called.
    """
    name = None
    if isinstance(source, str) and re.fullmatch(r"[\w.]*:[\w.]*", source):
        name, source = source, import_callable(source)
    if isinstance(source, ContentReference):
        return source.eval()
    if not isinstance(source, (str, Path)):
        return ForeignNetwork(source, name)
    if source in PATCH_BASED:
        return PATCH_BASED[str(source)]().eval()
    path = Path(source).expanduser()
    if source not in CONTENT_NETWORKS and path.is_file() and may_be_torchscript(path):
        return ForeignNetwork(load_torchscript(path), str(path))
    try:
        return load_content_network(source)
    except UnknownWeightsError:
        known = ", ".join([*CONTENT_NETWORKS, *PATCH_BASED])
        raise UnknownWeightsError(
            f"There is no content network called {source!r}; give a path, module:function or one of: {known}."
        ) from None
