"""Whether two commits fill alike: hashes of the bytes of a set of fills, and what differs between two such files.

    python -m benchmarks.hashes write before.json --pairs FOLDER
    python -m benchmarks.hashes compare before.json after.json

Bytes depend on the processor, so the two files must be made on one machine, with the same PyTorch and threads.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from benchmarks.holes import centred_hole
from benchmarks.machine import machine_info
from benchmarks.thin_holes import scratched
from neuralpatch_cuda import InpaintConfig, Inpainter

ROOT = Path(__file__).resolve().parents[1]
PHOTO, MASK = ROOT / "examples" / "photo.jpg", ROOT / "examples" / "mask.png"
FEW = InpaintConfig(iterations=10)
SIDE = 384
"""Pixels, of the parts of the example photograph that are filled besides the whole."""

Case = tuple[InpaintConfig, Any, Any]
"""Options, image and mask."""

app = typer.Typer(help=__doc__)


def cases(pairs: Path | None) -> Iterator[tuple[str, Case]]:
    """By name: the demo; each photograph of a folder with a centred hole; and one fill for each kind of input."""
    photo = Image.open(PHOTO).convert("RGB")
    yield "demo", (InpaintConfig(), photo, Image.open(MASK))
    for path in sorted(pairs.iterdir()) if pairs else []:
        pair = Image.open(path).convert("RGB")
        height, width = pair.height, pair.width
        yield f"pairs/{path.stem}", (FEW, pair, centred_hole(height, width, min(height, width) // 2))
    part = photo.crop((0, 0, SIDE, SIDE))
    pixels, hole = np.array(part), centred_hole(SIDE, SIDE, SIDE // 4)
    yield "scratches", (FEW, part, scratched(part.size, 30))
    yield "16 bits", (FEW, pixels.astype(np.uint16) * 257, hole)
    alpha = np.tile(np.linspace(64, 255, SIDE, dtype=np.uint8), (SIDE, 1))
    yield "alpha", (FEW, np.dstack([pixels, alpha]), hole)
    yield "float", (FEW, pixels.astype(np.float32) / 255, hole)
    yield "gray", (FEW, np.array(part.convert("L")), hole)


def digest(image: Any) -> str:
    """SHA-256 of the pixels, with their type and shape."""
    pixels = np.ascontiguousarray(np.asarray(image))
    return hashlib.sha256(f"{pixels.dtype} {pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def commit() -> str:
    """The checked out commit; with "+" where files were changed since."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "neuralpatch_cuda", "csrc") else "")


@app.command()
def write(
    out: Annotated[Path, typer.Argument(help="JSON file for the hashes.")],
    pairs: Annotated[Path | None, typer.Option(help="Folder of photographs to fill as well.")] = None,
) -> None:
    """Fill everything, and write the hashes."""
    hashes = {}
    for name, (config, image, mask) in cases(pairs):
        hashes[name] = digest(Inpainter(config, "cpu")(image, mask))
        print(hashes[name][:16], name, flush=True)
    out.write_text(json.dumps({"commit": commit(), "machine": machine_info(), "fills": hashes}, indent=1) + "\n")


@app.command()
def compare(before: Path, after: Path) -> None:
    """Say which fills differ between two files; exit with 1 if any does."""
    first, second = (json.loads(path.read_text()) for path in (before, after))
    for name in ("device", "torch", "threads"):
        if first["machine"][name] != second["machine"][name]:
            raise typer.BadParameter(f"made with another {name}: {first['machine'][name]}, {second['machine'][name]}")
    names = sorted(first["fills"].keys() | second["fills"].keys())
    differing = [name for name in names if first["fills"].get(name) != second["fills"].get(name)]
    for name in differing:
        print(f"differs: {name}" if name in first["fills"] and name in second["fills"] else f"in one file only: {name}")
    print(f"{len(names) - len(differing)} of {len(names)} fills are the same, byte for byte")
    raise typer.Exit(1 if differing else 0)


if __name__ == "__main__":
    app()
