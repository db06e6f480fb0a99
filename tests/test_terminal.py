"""What commands print survives every encoding of the terminal, and a reader that goes away."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neuralpatch_cuda import cli
from neuralpatch_cuda.terminal import EvaluationBar, printable

ROOT = Path(cli.__file__).parents[1]

NAMES = {
    "cyrillic": "Ёжик",
    "accent": "Größe-é",
    "combining": "e\u0301te\u0301",
    "chinese": "漢字",
    "emoji": "👩\u200d🚀",
    "hebrew": "שלום",
    "no text": os.fsdecode(b"bad-\xff\xfe"),
    "escape": "red\x1b[31m",
    "newline": "a\nb\tc",
    "markup": "[bold]x[:smile:]",
}
ENCODINGS = ["ascii", "latin-1", "cp1252", "cp437", "koi8-r", "shift_jis", "utf-16", "utf-8"]

FAST = ["--iterations", "0", "--scales", "1", "--content-network", "solver:fill"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photographs of all names in `in`, a mask for each in `masks`, and an empty mask."""
    (tmp_path / "solver.py").write_text("def fill(image, mask):\n    return image * (1 - mask) + mask / 2\n")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    hole = np.zeros((32, 32), np.uint8)
    for name, value in (("empty.png", 0), ("mask.png", 255)):
        hole[12:18, 12:18] = value
        Image.fromarray(hole).save(tmp_path / name)
    (tmp_path / "in").mkdir()
    for name in NAMES.values():
        with (tmp_path / "in" / f"{name}.png").open("wb") as file:
            Image.fromarray(pixels).save(file, "PNG")
    monkeypatch.chdir(tmp_path)
    return tmp_path


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls the command line with streams of an encoding; returns the exit code and what was printed."""

    def run(encoding: str, *arguments: str) -> tuple[int, str, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]  # strict, as stdout is
        with monkeypatch.context() as patch:
            for name, stream in zip(("stdout", "stderr"), streams, strict=True):
                patch.setattr(sys, name, stream)
            code = cli.main(arguments)
            assert [sys.stdout, sys.stderr] == streams
        printed = [stream.buffer.getvalue().decode(encoding) for stream in streams]  # type: ignore[attr-defined]
        return code, *printed

    monkeypatch.syspath_prepend(Path.cwd())
    return run


def shown(name: str, encoding: str) -> str:
    """A name as a terminal can show it: by Python's escapes where it cannot."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
    return "".join(c if c.encode(encoding, "ignore").decode(encoding) == c else ascii(c)[1:-1] for c in text)


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "utf-16", "utf-8"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_inpaint(name: str, encoding: str, call: Call, folder: Path) -> None:
    code, out, _ = call(encoding, "inpaint", f"in/{name}.png", "mask.png", "-o", f"{name}.png", *FAST)
    assert code == 0
    assert re.fullmatch(re.escape(shown(name, encoding)) + r"\.png \(32 x 32 px, \d+\.\d s\)\n", out)
    assert (folder / f"{name}.png").is_file()


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_errors_and_warnings(name: str, encoding: str, call: Call, folder: Path) -> None:
    code, out, err = call(encoding, "inpaint", f"{name}.tif", "mask.png", "-o", "out.png")
    assert (code, out) == (2, "")
    assert err == f"Error: There is no file {shown(name, encoding)}.tif.\n"
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    with (folder / f"{name}.tif").open("w+b") as file:
        frames[0].save(file, "TIFF", save_all=True, append_images=frames[1:])
    code, _, err = call(encoding, "inpaint", f"{name}.tif", "mask.png", "-o", "out.png", *FAST, "--quiet")
    assert code == 0
    assert err.startswith(f"Warning: {shown(name, encoding)}.tif has 2 frames or pages")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_batch(encoding: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    batch = ["batch", "--image", "in", "--output", "out", *FAST]
    code, out, err = call(encoding, *batch, "--mask", "mask.png", "--dry-run")
    assert (code, err) == (0, f"{len(NAMES)} to do, 0 done before, 0 refused\n")
    for name in NAMES.values():
        text = shown(name, encoding)
        assert f"in/{text}.png + mask.png -> out/{text}.png\n" in out
    code, out, err = call(encoding, "--log", "info", *batch, "--mask", "empty.png")
    assert code == 1
    table = [line for line in out.splitlines() if "The mask is empty" in line]
    assert len(table) == len(NAMES)
    for name in NAMES.values():  # what is no text is escaped in an item's name already
        text = name.encode("utf-8", "backslashreplace").decode()
        assert sum(shown(text, encoding) + ".png" in line for line in table) == 1
    if encoding != "utf-8":
        return
    code, out, _ = call(encoding, *batch, "--mask", "empty.png", "--json")
    assert code == 1
    assert len(json.loads(out)["failed"]) == len(NAMES)


def test_the_columns_of_a_table_are_straight(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = call("ascii", "batch", "--image", "in", "--output", "out", "--mask", "empty.png", *FAST, "--quiet")
    table = out[out.index("\n+") :].split()
    assert all(out.isascii() for out in table)
    rows = [line for line in out.splitlines() if line.startswith(("|", "+"))]
    assert len(rows) == len(NAMES) + 4
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
@pytest.mark.parametrize("command", [["info"], ["--help"], ["batch", "--help"], ["--version"], ["nonsense-ж"]], ids=str)
def test_other_commands(command: list[str], encoding: str, call: Call) -> None:
    code, out, err = call(encoding, *command)
    assert code == (2 if command == ["nonsense-ж"] else 0)
    assert "neuralpatch" in out + err


class Busy(io.FileIO):
    """A file that takes a few bytes, and none every second time, as a pipe does that is full and does not wait."""

    ready = True

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        self.ready = not self.ready
        return super().write(bytes(data)[:7]) if self.ready else None


@pytest.mark.parametrize(
    ("arguments", "end"), [(["--version"], ""), (["--help"], "╯"), (["info", "--nonsense"], "--help.")], ids=str
)
def test_a_pipe_that_does_not_wait(arguments: list[str], end: str, folder: Path, call: Call) -> None:
    _, *expected = call("utf-8", *arguments)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(io.BufferedWriter(Busy(folder / name, "w")), "utf-8")
            patch.setattr(sys, name, stream)
        cli.main(arguments)
    printed = [(folder / name).read_text("utf-8") for name in ("stdout", "stderr")]
    assert printed == expected
    assert "".join(printed).rstrip().endswith(end)


def test_the_name_of_a_method_is_no_markup(call: Call) -> None:
    class Row:
        error, method = "", "[/] [nothing] ж"

    with EvaluationBar(False, 1) as bar:
        bar.update(Row())  # type: ignore[arg-type]


def test_printable() -> None:
    assert printable("a\x1b\udcff\u200eñ") == "a\\x1b\\udcff\\u200eñ"


# As processes


def process(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(ROOT), str(Path.cwd())])
    return subprocess.Popen(
        [sys.executable, "-m", "neuralpatch_cuda.cli", *arguments],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("environment", [C_LOCALE, {"PYTHONIOENCODING": "cp1252:strict"}], ids=["C", "cp1252"])
def test_a_process(environment: dict[str, str], folder: Path) -> None:
    with process("batch", "--image", "in", "--mask", "mask.png", "-o", "out", *FAST, **environment) as run:
        out, err = run.communicate()
    assert run.returncode == 0, err
    assert out.startswith(f"{len(NAMES)} filled, ".encode())
    assert set(os.listdir(b"out")) > set(os.listdir(b"in"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["info"], 0),
        (["batch", "--image", "in", "--mask", "empty.png", "-o", "out", *FAST], 1),
        (["inpaint", "in/漢字.png", "mask.png", "-o", "ж.png", *FAST], 0),
    ],
    ids=lambda value: str(value)[:20],
)
def test_nobody_reads_what_is_printed(arguments: list[str], code: int, folder: Path) -> None:
    with process(*arguments) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()  # as `head` does when it has seen enough
        err = run.stderr.read()
    assert run.returncode == code
    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="There is no full device here.")
def test_the_file_that_is_printed_to_is_full() -> None:
    with open("/dev/full", "wb") as full:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "neuralpatch_cuda.cli", "--version"]
        run = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, check=False)
    assert run.returncode == 2
    assert run.stderr == b"Error: What is printed cannot be written: No space left on device.\n"
