"""The documents, and a folder with small files of all the names that they use."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SIDE = 64
"""Of photographs that are filled."""


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all, which tests must leave as it is."""
    folder = tmp_path_factory.mktemp("inputs")
    photograph = Image.open(ROOT / "examples" / "photo.jpg")

    def cut(number: int, side: int) -> Image.Image:
        return photograph.crop((60 * number, 0, 60 * number + 600, 600)).resize((side, side))

    mask, wall = Image.new("L", (SIDE, SIDE)), Image.new("L", (SIDE, SIDE))
    mask.paste(255, (24, 24, 40, 40))
    wall.paste(255, (0, 0, 24, SIDE))
    pictures = {"photo.jpg": cut(0, SIDE), "large.jpg": cut(1, SIDE), "other.jpg": cut(2, SIDE)}
    pictures |= {"mask.png": mask, "scratches.png": mask, "wall.png": wall}
    for number, suffix in ((1, "tif"), (2, "tif"), (3, "jpg")):
        pictures[f"scans/{number}.{suffix}"] = cut(number, SIDE)
        pictures[f"masks/{number}.png"] = mask
    for number in range(2):  # to learn from
        for place in ("photos", "more-photos", "held-out"):
            pictures[f"{place}/{number}.jpg"] = cut(number, 136)
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(exist_ok=True)
        picture.save(folder / name)
    for name in ("photos", "held-out"):
        with tarfile.open(folder / f"{name}.tar", "w") as archive:
            archive.add(folder / name, name)
    for name in ("scans", "masks"):
        shutil.copytree(folder / name, folder / "archive" / name)
    return folder


@pytest.fixture
def workplace(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the inputs, and the current folder."""
    folder = shutil.copytree(inputs, tmp_path / "workplace")
    monkeypatch.chdir(folder)
    return folder
