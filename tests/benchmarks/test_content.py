"""The benchmarks of content networks run, at a tiny size, and write what they measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]

pytest.importorskip("torchmetrics")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Crops of the example photograph, enough for a batch."""
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = Image.open(ROOT / "examples" / "photo.jpg").convert("RGB").resize((384, 256))
    for i in range(32):
        left, top = (i % 8) * 32, (i // 8) * 32
        photo.crop((left, top, left + 136, top + 136)).save(folder / f"{i:02}.png")
    return folder


def run(module: str, *arguments: str | Path) -> None:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_content(photos: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "content.json", tmp_path / "sheet.png"
    arguments = [
        "--network",
        "content-l2",
        "--limit",
        "3",
        "--out",
        out,
        "--photo",
        photos / "00.png",
        "--sheet",
        sheet,
    ]
    run("content", photos, *arguments)
    report = json.loads(out.read_text())
    results = report["results"]
    assert report["photographs"] == 3
    assert results.keys() >= {"mean of the known pixels", "content-l2"}
    centre = {name: row["centre"]["psnr_db"] for name, row in results.items()}
    assert centre["content-l2"] > centre["mean of the known pixels"]
    assert results["mean of the known pixels"]["centre"]["sharpness"] < 0.2
    assert report["milliseconds"]["content-l2"] > 0
    assert str(tmp_path) not in out.read_text()
    assert Image.open(sheet).height > 192


def test_content_designs(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    out = tmp_path / "designs.json"
    run("content_designs", "--data", photos, "--validation", photos, "--out", out, "--seconds", "1", "--width", "16")
    results = json.loads(out.read_text())["results"]
    assert len(results) == 3
    for row in results.values():
        assert row["samples"] >= 32
        assert all(5 < value < 60 for value in row["psnr_db"].values())
