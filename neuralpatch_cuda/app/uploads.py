"""Files that come from a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr


def take_uploads_only(blocks: gr.Blocks) -> None:
    """Let the components of a page refuse addresses, which Gradio would otherwise fetch, where a file is expected.

    Paths of files that were not uploaded, it refuses itself.
    """

    def guarded(move: Any) -> Any:
        async def move_uploads_only(path: str | Path | None) -> str | None:
            if path is not None and "://" in str(path):
                raise gr.Error("Only files that were uploaded are taken, no addresses.", print_exception=False)
            moved: str | None = await move(path)
            return moved

        return move_uploads_only

    for block in blocks.blocks.values():
        block.async_move_resource_to_block_cache = guarded(  # type: ignore[method-assign]
            block.async_move_resource_to_block_cache
        )
