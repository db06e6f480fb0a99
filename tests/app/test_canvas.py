"""What a canvas gives and is given; how it is painted on is tested in a browser."""

from __future__ import annotations

import base64
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip("gradio")

from neuralpatch_cuda.app import canvas as module  # noqa: E402
from neuralpatch_cuda.app.canvas import PREFIX, canvas, strokes_of, value_of  # noqa: E402
from neuralpatch_cuda.app.pictures import OPACITY, RED  # noqa: E402
from neuralpatch_cuda.errors import MaskError  # noqa: E402

SIZE = (30, 20)
OPACITIES = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


def painted(size: tuple[int, int] = SIZE) -> Image.Image:
    image = Image.new("RGBA", size, RED)
    image.putalpha(Image.fromarray(OPACITIES).resize(size))
    return image


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


def url(content: bytes) -> str:
    return PREFIX + base64.b64encode(content).decode()


def png(width: int, height: int, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG file of 30 x 20 px that says it were as large as this, with more chunks behind its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(20 * 121))), *more, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def refused(value: Any, size: tuple[int, int] = SIZE) -> None:
    with pytest.raises(MaskError, match=r"^What was painted did not arrive whole; paint again\.$"):
        strokes_of(value, size)


def test_nothing_was_painted() -> None:
    assert strokes_of(None, SIZE) is None
    assert strokes_of(value_of(Path("/photograph.jpg")), SIZE) is None


def test_paint_arrives_as_it_was_sent() -> None:
    strokes = strokes_of(value_of(Path("/photograph.jpg"), url(encoded(painted()))), SIZE)
    assert strokes is not None and strokes.dtype == np.uint8
    assert strokes.shape == (20, 30) and (strokes == OPACITIES).all()


def test_a_photograph_is_an_address_of_the_server() -> None:
    assert value_of(Path("/private/0123/1/photograph.jpg"), "strokes") == {
        "photograph": "gradio_api/file=/private/0123/1/photograph.jpg",
        "strokes": "strokes",
    }


def test_paint_of_another_photograph_is_refused() -> None:
    value = {"strokes": url(encoded(painted((20, 30))))}
    refused(value)
    assert strokes_of(value, (20, 30)) is not None


WHOLE = encoded(painted())


@pytest.mark.parametrize(
    "strokes",
    [
        *("", "paint", "https://localhost/a.png", "data:image/png;base64", PREFIX, PREFIX + "é", PREFIX + "===="),
        "data:image/jpeg;base64," + base64.b64encode(encoded(painted().convert("RGB"), "JPEG")).decode(),
        PREFIX.upper() + base64.b64encode(WHOLE).decode(),
        url(encoded(painted().convert("RGB"), "JPEG")),
        url(encoded(painted(), "GIF")),
        url(WHOLE)[:-1],
        url(WHOLE)[:-7] + "\n" + url(WHOLE)[-7:],
        url(WHOLE[: len(WHOLE) // 2]),
        url(WHOLE[:30]),
        url(png(30, 21)),
        url(png(31, 20)),
        url(png(0, 20)),
        url(b""),
        *(7, 1.5, True, {}, {"a": 1}, [], [url(WHOLE)]),
    ],
)
def test_what_a_canvas_does_not_send_is_refused(strokes: Any) -> None:
    refused({"strokes": strokes})


@pytest.mark.parametrize("value", [7, True, "paint", [1]])
def test_what_is_no_value_of_a_canvas_is_refused(value: Any) -> None:
    refused(value)


@pytest.mark.parametrize(
    "chunk",
    [
        (b"pHYs", b""),
        (b"gAMA", b"abc"),
        (b"iCCP", b""),
    ],
)
def test_damaged_chunks_are_refused(chunk: tuple[bytes, bytes]) -> None:
    assert strokes_of({"strokes": url(png(*SIZE, (b"tEXt", b"a\0b")))}, SIZE) is not None
    refused({"strokes": url(png(*SIZE, chunk))})


@pytest.mark.parametrize(
    "side",
    [10_000, 60_000],
)
def test_paint_that_says_it_is_huge_is_not_decoded(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    decoded = []
    monkeypatch.setattr(Image.Image, "convert", lambda image, mode: decoded.append(image.size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        refused({"strokes": url(png(side, side))})
    assert decoded == []


def test_too_much_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    strokes = url(WHOLE)
    monkeypatch.setattr(module, "LONGEST", len(strokes))
    assert strokes_of({"strokes": strokes}, SIZE) is not None
    monkeypatch.setattr(module, "LONGEST", len(strokes) - 1)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("looked at"))
    refused({"strokes": strokes})


def test_paint_of_the_largest_canvas_is_not_too_much() -> None:
    """Noise, which cannot be compressed, as no brush paints it."""
    noise = np.random.default_rng(0).integers(0, 256, (1280, 1280), dtype=np.uint8)
    image = Image.new("RGBA", (1280, 1280), RED)
    image.putalpha(Image.fromarray(noise))
    strokes = strokes_of({"strokes": url(encoded(image))}, image.size)
    assert strokes is not None and (strokes == noise).all()


def test_a_canvas_begins_empty_and_looks_as_pictures_do() -> None:
    with gr.Blocks():
        component = canvas(elem_id="canvas")
    assert component.value == {"photograph": None, "strokes": None} and component.elem_id == "canvas"
    folder = Path(module.__file__).parent
    assert f"rgb{RED}" in (folder / "canvas.js").read_text(encoding="utf-8")
    assert f"opacity: {OPACITY};" in (folder / "canvas.css").read_text(encoding="utf-8")
