"""Pictures that show results side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

MARGIN = 8
LINE = 20
"""Of a caption."""


def holed(photograph: Image.Image, hole: NDArray[np.bool_]) -> Image.Image:
    """The photograph with its hole, bool `[H, W]`, in grey."""
    image = photograph.copy()
    image.paste((128, 128, 128), mask=Image.fromarray(hole))
    return image


def contact_sheet(images: Sequence[Image.Image], captions: Sequence[str], columns: int, tile: int) -> Image.Image:
    """Arrange images in rows, each scaled to fit a square of `tile` px, with its caption, of a line or more, below."""
    font = ImageFont.load_default(16)
    rows = -(-len(images) // columns)
    lines = max((1 + caption.count("\n") for caption in captions), default=1)
    step_x, step_y = tile + MARGIN, tile + lines * LINE + 2 * MARGIN
    sheet = Image.new("RGB", (columns * step_x + MARGIN, rows * step_y + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = MARGIN + i % columns * step_x, MARGIN + i // columns * step_y
        scale = tile / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        picture = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        sheet.paste(picture, (x + (tile - size[0]) // 2, y + (tile - size[1]) // 2))
        draw.text((x + tile / 2, y + tile + 4), caption, fill="black", font=font, anchor="ma", align="center")
    return sheet
