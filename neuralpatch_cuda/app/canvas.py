"""The canvas to paint on, which is given a reduced photograph and gives back what was painted.

Not Gradio's image editor: with every change of anything on the page, that sends photograph and paint to the server.
"""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from neuralpatch_cuda.errors import MaskError
from neuralpatch_cuda.imaging.images import Array

HERE = Path(__file__).parent
PREFIX = "data:image/png;base64,"
LONGEST = 16 * 2**20
"""Characters of strokes that are looked at."""

Painted = dict[str, Any] | None
"""A canvas's value: `photograph`, an address, and `strokes`, a PNG as a data URL, or None."""


def canvas(**options: Any) -> gr.HTML:
    """A canvas with brush, eraser, undo and zoom; its event `input` tells of each stroke."""
    html, css, js = ((HERE / f"canvas.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return gr.HTML(
        {"photograph": None, "strokes": None}, html_template=html, css_template=css, js_on_load=js, **options
    )


def value_of(photograph: Path, strokes: str | None = None) -> Painted:
    """The value that shows a photograph which lies in a user's folder, with strokes as they came."""
    return {"photograph": f"gradio_api/file={photograph}", "strokes": strokes}


def strokes_of(value: Painted, size: tuple[int, int]) -> Array | None:
    """What was painted on a photograph of this width and height: the opacity of the paint, uint8 `[h, w]`.

    Raises:
        MaskError: it is not what a canvas sends.
    """
    try:
        strokes = (value or {}).get("strokes")
        if strokes is None:
            return None
        if not strokes.startswith(PREFIX) or len(strokes) > LONGEST:
            raise ValueError
        with Image.open(BytesIO(base64.b64decode(strokes[len(PREFIX) :], validate=True)), formats=["PNG"]) as image:
            if image.size != size:
                raise ValueError
            opacity: Array = np.asarray(image.convert("RGBA").getchannel("A"))
    except Exception:  # of many kinds, as it may be anything
        raise MaskError("What was painted did not arrive whole; paint again.") from None
    return opacity
