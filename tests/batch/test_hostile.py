"""Three hundred inputs that archives and attackers have: each gets one sentence or a result, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from neuralpatch_cuda import cli

QUICK = ["--iterations", "1", "--scales", "1", "--devices", "cpu"]
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
KINDS = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "webp": "WEBP", "avif": "AVIF", "bmp": "BMP", "gif": "GIF"}


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, *chunks: bytes, rows: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + chunk(b"IEND", b"")


def images() -> dict[str, bytes]:
    """Hostile photographs by name."""
    files = {}
    chance = random.Random(0)
    for suffix, kind in KINDS.items():
        content = encoded(kind)
        for cut in (1, 4, 12, 30, 60, len(content) // 4, len(content) // 2, len(content) - 3):
            files[f"truncated-{cut}.{suffix}"] = content[:cut]
        for index in range(8):
            spoilt = bytearray(content)
            for _ in range(1 + index):
                spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
            files[f"spoilt-{index}.{suffix}"] = bytes(spoilt)
        files[f"zero-bytes.{suffix}"] = b""
        files[f"zeros.{suffix}"] = bytes(1000)
        files[f"noise.{suffix}"] = chance.randbytes(1000)
        files[f"magic-then-noise.{suffix}"] = content[:16] + chance.randbytes(1000)
        files[f"text.{suffix}"] = b"This is a text.\n" * 20
        other = "bmp" if suffix == "png" else "png"
        files[f"really-a-{other}.{suffix}"] = encoded(KINDS[other])
    for side in (60_000, 2**31 - 1):
        files[f"bomb-{side}.png"] = png(side, side, 8, 2, rows=bytes(1000))
        files[f"bomb-{side}-deep.png"] = png(side, side, 16, 6, rows=bytes(1000))
        files[f"bomb-{side}.bmp"] = encoded("BMP")[:18] + struct.pack("<ii", side, side) + encoded("BMP")[26:]
    files["bomb.gif"] = b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + encoded("GIF")[10:]
    files["text-bomb.png"] = png(
        48, 48, 8, 2, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))), rows=bytes(10**4)
    )
    files["profile-bomb.png"] = png(
        48, 48, 8, 2, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8))), rows=bytes(10**4)
    )
    for depth in (1, 2, 4, 8):
        rows = b"".join(b"\0" + b"\xff" * (48 * depth // 8) for _ in range(48))
        files[f"palette-{depth}.png"] = png(
            48, 48, depth, 3, chunk(b"PLTE", bytes(range(3 * 2**depth % 256)) or b"\0" * 768), rows=rows
        )
        files[f"palette-too-short-{depth}.png"] = png(48, 48, depth, 3, chunk(b"PLTE", b"\1\2\3"), rows=rows)
        files[f"palette-missing-{depth}.png"] = png(48, 48, depth, 3, rows=rows)
        files[f"palette-transparent-{depth}.png"] = png(
            48, 48, depth, 3, chunk(b"PLTE", bytes(3 * 2**depth)), chunk(b"tRNS", b"\0\x80"), rows=rows
        )
    frames = [Image.fromarray(np.roll(PIXELS, 7 * index)) for index in range(3)]
    for suffix in ("gif", "webp", "png", "tif"):
        files[f"animated.{suffix}"] = encoded(KINDS[suffix], frames[0], save_all=True, append_images=frames[1:])
    for mode in ("1", "L", "LA", "P", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"):
        image = Image.fromarray(PIXELS).convert("L" if mode in ("I", "F", "I;16") else "RGB")
        files[f"mode-{mode.replace(';', '')}.tif"] = encoded("TIFF", image.convert(mode if mode != "HSV" else "RGB"))
    for width, height in ((1, 1), (1, 48), (48, 1), (7, 7), (0, 48)):
        files[f"tiny-{width}x{height}.png"] = png(width, height, 8, 2, rows=bytes((1 + 3 * width) * height))
    files["postscript.png"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 48\n(touched) (w) file closefile\n"
    files["svg.png"] = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    files["orientation-99.jpg"] = encoded("JPEG", exif=_orientation(99))
    return files


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def masks() -> dict[str, bytes]:
    """Masks of all kinds for a photograph of 48 x 48 px, by name."""
    hole = Image.new("L", (48, 48))
    ImageDraw.Draw(hole).rectangle((16, 16, 27, 27), fill=255)
    dot = Image.new("L", (48, 48))
    dot.putpixel((24, 24), 255)
    files = {
        "empty.png": encoded("PNG", Image.new("L", (48, 48))),
        "full.png": encoded("PNG", Image.new("L", (48, 48), 255)),
        "one-pixel.png": encoded("PNG", dot),
        "inverted.png": encoded("PNG", Image.eval(hole, lambda value: 255 - value)),
        "noise.png": encoded("PNG", Image.fromarray(PIXELS)),
        "gray.png": encoded("PNG", Image.new("L", (48, 48), 127)),
        "transparent.png": encoded("PNG", Image.new("RGBA", (48, 48), (255, 255, 255, 0))),
        "too-small.png": encoded("PNG", hole.resize((47, 48))),
        "turned.png": encoded("PNG", hole.resize((48, 96))),
        "text.png": b"white",
        "none.png": b"",
        "bomb.png": png(60_000, 60_000, 1, 0, rows=bytes(1000)),
        "truncated.png": encoded("PNG", hole)[:-30],
        "animated.gif": encoded("GIF", hole, save_all=True, append_images=[Image.new("L", (48, 48))]),
        "float-nan.tif": encoded("TIFF", Image.fromarray(np.full((48, 48), np.nan, np.float32))),
        "float-large.tif": encoded("TIFF", Image.fromarray(np.full((48, 48), 1e30, np.float32))),
        "negative.tif": encoded("TIFF", Image.fromarray(np.full((48, 48), -1, np.int32))),
        "lab.tif": encoded("TIFF", Image.new("LAB", (48, 48))),
        "deep.png": png(
            48, 48, 16, 6, rows=b"".join(b"\0" + bytes(16 * 8) + b"\xff" * 96 + bytes(160) for _ in range(48))
        ),
    }
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        files[f"good-{mode}.png"] = encoded("PNG", hole.convert(mode))
    files["good.jpg"] = encoded("JPEG", hole)
    files["good-cmyk.jpg"] = encoded("JPEG", hole.convert("CMYK"))
    return files


NAMES = [
    *(
        "-o",
        "--help",
        "$(touch touched)",
        "`touch touched`",
        "; touch touched",
        "a\nb",
        "\x1b[31mred\x1b[0m",
        "\x07\x08",
    ),
    *(
        "[red]bold[]",
        "%s%n",
        "{0}",
        "'\"",
        "\\",
        "\\..\\..\\x",
        "CON",
        "a" * 240,
        "ä" * 120,
        "名前",
        "\u202egnp",
        "👩‍👩‍👧",
    ),
    *(
        " leading",
        "trailing ",
        "dots...",
        "~",
        "~root",
        "*",
        "?",
        "[a-z]",
        "#",
        "&",
        "|",
        "nul",
        "\udcff\udcfe",
        "a" * 200,
    ),
]

LINES = [
    *(
        "",
        "null",
        "3",
        '"a"',
        "[]",
        "{",
        "{}",
        "nonsense",
        "[" * 10_000,
        '{"image": "good.png"}',
        '{"mask": "mask.png"}',
    ),
    *(
        json.dumps({"image": image, "mask": "mask.png"})
        for image in ("../good.png", "/etc/passwd", "..", "", ".", "a\0b")
    ),
    *(
        json.dumps({"image": "good.png", "mask": mask})
        for mask in ("../m.png", "/dev/zero", 3, ["mask.png"], None, "/")
    ),
    *(
        json.dumps({"image": "good.png", "mask": "mask.png", "output": output})
        for output in ("../x.png", "/tmp/x.png", "a/../../x.png", "x.sh", ".", "a\0.png", 7, {"a": 1}, "\udcff.png")
    ),
    *(
        json.dumps({"image": "good.png", "mask": "mask.png", **options})
        for options in (
            {"content_network": "os:system"},
            {"content_network": "evil:fill"},
            {"texture_network": "/etc/passwd"},
            {"alpha": "nan"},
            {"alpha": 1e999},
            {"iterations": [10**9, "x"]},
            {"seed": -1},
            {"quality": 101},
            {"memory_budget": "-1GB"},
            {"__class__": "x"},
            {"": 1},
        )
    ),
]


def tree(folder: Path) -> dict[str, Any]:
    """Everything below a folder but the journal and the outputs: kind, and content and time of files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder).parts
        if below[:2] == ("here", "out") and not path.is_symlink():
            continue
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        time = None if path.is_dir() else status.st_mtime_ns
        found[str(path)] = (status.st_mode, time, hashlib.sha256(os.fsencode(content)).hexdigest())
    return found


def is_a_sentence(text: str) -> bool:
    """One line with a full stop, that was written for people."""
    return "\n" not in text and text.endswith(".") and not re.match(r"\w+(Error|Exception|Interrupt)\b", text)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a good photograph, a mask, a module, and a neighbour that nothing may touch."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "good.png").write_bytes(encoded("PNG"))
    (folder / "mask.png").write_bytes(masks()["good-L.png"])
    (folder / "evil.py").write_text("open('touched', 'w').close()\n")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


def test_photographs_and_masks(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = []
    for kind, files in (("image", images()), ("mask", masks())):
        (place / kind).mkdir()
        for name, content in files.items():
            (place / kind / name).write_bytes(content)
            row = {"image": "good.png", "mask": "mask.png"} | {kind: f"{kind}/{name}"}
            rows.append(row | {"output": f"{kind}/{name}.png"})
    (place / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert len(rows) > 200
    before = tree(place.parent)

    assert cli.main(["batch", "--manifest", "list.jsonl", "-o", "out", "--json", *QUICK]) == 1
    captured = capfd.readouterr()
    summary = json.loads(captured.out)
    assert summary["done"] + len(summary["failed"]) == len(rows)
    assert [error for error in summary["failed"].values() if not is_a_sentence(error)] == []
    assert [line for line in captured.err.splitlines() if not re.fullmatch(r"Warning: .*[.!]", line)] == []
    assert {path.relative_to("out").as_posix() for path in Path("out").rglob("*.png")} == {
        row["output"] for row in rows if row["output"] not in summary["failed"]
    }
    for path in Path("out").rglob("*.png"):
        with Image.open(path) as image:
            image.load()
    for name in ("animated.gif", "palette-8.png", "mode-CMYK.tif", "really-a-png.jpg"):
        assert f"image/{name}.png" not in summary["failed"]
    for name in ("zero-bytes.png", "bomb-60000.png", "bomb-60000-deep.png", "text.jpg", "postscript.png", "svg.png"):
        assert f"image/{name}.png" in summary["failed"]
    for name in masks():
        assert (f"mask/{name}.png" in summary["failed"]) != name.startswith(
            ("good", "one", "inv", "anim", "deep", "noise")
        )
    assert tree(place.parent) == before


def test_names(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "in").mkdir()
    for name in NAMES:
        shutil.copy("good.png", Path("in") / f"{name}.png")
        (place / "in" / f"{name}.bad").write_bytes(b"no image")
        (place / "in" / f"{name}.bad").rename(place / "in" / f"{name}.jpg")
    before = tree(place.parent)
    assert cli.main(["batch", "--image", "in", "--mask", "mask.png", "-o", "out", "-q", *QUICK]) == 1
    captured = capfd.readouterr()
    assert captured.out.startswith(f"{len(NAMES)} filled, 0 done before, {len(NAMES)} failed")
    assert not set(captured.out + captured.err) & {"\x1b", "\x07", "\x08", "\u202e"}
    assert {path.name for path in Path("out").glob("*.png")} == {f"{name}.png" for name in NAMES}
    assert tree(place.parent) == before
    assert cli.main(["batch", "--image", "in", "--mask", "mask.png", "-o", "out", "--json", *QUICK]) == 1
    assert json.loads(capfd.readouterr().out)["skipped"] == len(NAMES)


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_manifests(place: Path, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "list.jsonl").write_text(line)
    before = tree(place.parent)
    assert cli.main(["batch", "--manifest", "list.jsonl", "-o", "out", "-q", *QUICK]) in (1, 2)
    captured = capfd.readouterr()
    sentences = [line.partition(": ")[2] for line in captured.err.splitlines()]
    assert all(is_a_sentence(sentence) for sentence in sentences), captured.err
    assert not Path("touched").exists()
    assert list(Path("out").rglob("*.png")) == []
    assert tree(place.parent) == before


def test_links_in_the_output_folder(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outside = place.parent / "outside"
    outside.mkdir()
    (outside / "precious.png").write_text("precious")
    for name in ("in/sub", "out"):
        (place / name).mkdir(parents=True)
    for name in ("in/a.png", "in/b.png", "in/c.png", "in/sub/d.png"):
        shutil.copy("good.png", name)
    (place / "out/a.png").symlink_to(outside / "precious.png")
    (place / "out/b.png").symlink_to(outside / "new.png")
    (place / "out/sub").symlink_to(outside, target_is_directory=True)
    before = tree(place.parent)
    for options in ([], ["--overwrite"]):
        command = ["batch", "--image", "in", "--mask", "mask.png", "-o", "out", "--json", *QUICK, *options]
        assert cli.main(command) == 1
        failed = json.loads(capfd.readouterr().out)["failed"]
        assert set(failed) == {"a.png", "b.png", "sub/d.png"}
        assert all(map(is_a_sentence, failed.values()))
    assert tree(place.parent) == before
    assert sorted(path.name for path in outside.iterdir()) == ["precious.png"]
