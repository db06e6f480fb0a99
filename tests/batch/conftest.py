from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

QUICK = ["--iterations", "1", "--scales", "1", "--content-network", "solver:fill"]
"""Options with which a small photograph takes a few hundredths of a second."""

SOLVER = """
import os
from pathlib import Path

def fill(image, mask):
    with open(os.environ["SOLVED"], "a") as file:  # one line a call, whatever process it is in
        file.write(f"{round(float(image[0, 0, 0, 0]) * 255)} {os.getpid()}\\n")
    victim = Path(os.environ["SOLVED"] + ".kill")
    if victim.exists() and victim.read_text().split()[0] == str(round(float(image[0, 0, 0, 0]) * 255)):
        if "once" in victim.read_text():
            victim.unlink()
        os.kill(os.getpid(), 9)
    return image * (1 - mask) + mask / 2
"""
"""A content network that keeps count, and dies when it is asked to fill the photograph that a file names."""


class Scans:
    """Photographs of 48 x 48 px, told apart by the red of their first pixel, and one mask."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.output, self.mask = folder / "in", folder / "out", folder / "mask.png"
        self.count = count
        self._solved = folder / "solved"
        self.environment = os.environ | {"SOLVED": str(self._solved), "PYTHONPATH": str(folder)}
        (folder / "solver.py").write_text(SOLVER)
        self.folder.mkdir()
        rng = np.random.default_rng(0)
        for index in range(count):
            pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            pixels[0, 0, 0] = index
            Image.fromarray(pixels).save(self.folder / f"{index:03d}.png")
        hole = np.zeros((48, 48), np.uint8)
        hole[16:28, 16:28] = 255
        Image.fromarray(hole).save(self.mask)

    def command(self, *options: str) -> list[str]:
        batch = [sys.executable, "-m", "neuralpatch_cuda.cli", "batch", "--output", str(self.output), *QUICK]
        return [*batch, "--image", str(self.folder), "--mask", str(self.mask), *options]

    def kill_at(self, index: int, how_often: str) -> None:
        """Let the process that fills this photograph die, "once" or "always"."""
        Path(f"{self._solved}.kill").write_text(f"{index} {how_often}")

    def solved(self) -> list[tuple[int, int]]:
        """The photographs that were begun to be filled, and by which process."""
        lines = self._solved.read_text().splitlines() if self._solved.exists() else []
        return [(int(index), int(process)) for index, process in map(str.split, lines)]

    def outputs(self) -> dict[str, bytes]:
        """What is in the folder of the outputs but the journal; each must be a whole image, its hole filled."""
        found = {}
        for path in sorted(self.output.glob("*.png")):
            with Image.open(path) as image:
                image.load()
                pixels = np.asarray(image)
            original = np.asarray(Image.open(self.folder / path.name))
            changed = (pixels != original).any(-1)
            assert changed[16:28, 16:28].mean() > 0.9
            changed[16:28, 16:28] = False
            assert not changed.any()
            found[path.name] = pixels.tobytes()
        return found


@pytest.fixture
def make_scans(tmp_path: Path) -> Callable[[int], Scans]:
    return lambda count: Scans(tmp_path, count)
