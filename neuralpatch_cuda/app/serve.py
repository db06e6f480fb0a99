"""The server of the page."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import NeuralPatchError
from neuralpatch_cuda.imaging.whole import reason_of

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Limits:
    """What one user may ask for."""

    megabytes: int = 200
    """Of an uploaded file."""
    megapixels: float = 60
    """Of a photograph."""
    minutes: float = 15
    """That a fill may take."""
    waiting: int = 40
    """Requests that may wait in line."""


@contextmanager
def serving(
    config: InpaintConfig, device: str, host: str, port: int, login: tuple[str, str] | None, limits: Limits
) -> Iterator[str]:
    """Serve the page while this is entered.

    Args:
        config: what the options begin as.
        device: as of `Inpainter`.
        host: address to listen at.
        port: to listen at.
        login: name and password that are asked for.
        limits: for each user.

    Yields:
        The page's address.

    Raises:
        NeuralPatchError: the port is taken, or as `Inpainter`.
    """
    try:  # before the networks are loaded
        socket.create_server((host, port), reuse_port=False).close()
    except OSError as error:
        raise NeuralPatchError(f"The port {port} of {host} cannot be used: {reason_of(error)}.") from error
    with tempfile.TemporaryDirectory(prefix="neuralpatch-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_EXAMPLES_CACHE"] = folder
        import gradio as gr

        from neuralpatch_cuda.app.engine import Engine
        from neuralpatch_cuda.app.page import CSS, PASTE, Page
        from neuralpatch_cuda.app.session import Sessions

        engine = Engine(config, device, 60 * limits.minutes)
        page = Page(engine, Sessions(Path(folder), round(1e6 * limits.megapixels)), config)
        page.blocks.queue(max_size=limits.waiting)
        try:
            _, url, _ = page.blocks.launch(
                server_name=host,
                server_port=port,
                auth=login,
                max_file_size=limits.megabytes * 2**20,
                head=PASTE,
                css=CSS,
                theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                footer_links=["api"],
                run_history=False,
                enable_monitoring=False,
                share=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                prevent_thread_lock=True,
                quiet=True,
                show_error=True,
            )
            yield url
        finally:
            page.blocks.close(verbose=False)
            engine.close()
