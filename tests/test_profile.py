"""The stages' clock, and the command that shows where the time of a run goes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from neuralpatch_cuda import cli, profiling, stages
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.networks.content import ContentConfig, ContentNetwork
from neuralpatch_cuda.networks.weights import save_content_network
from neuralpatch_cuda.stages import OTHER, StageClock, stage

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photo.png, mask.png and the weights of a content network, content.safetensors."""
    tiles = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(np.kron(tiles, np.ones((8, 8, 1), np.uint8))).save(tmp_path / "photo.png")
    mask = Image.new("L", (96, 80))
    mask.paste(255, (40, 30, 64, 50))
    mask.save(tmp_path / "mask.png")
    torch.manual_seed(0)
    save_content_network(ContentNetwork(ContentConfig(width=16, dilations=(1,))), tmp_path / "content.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


FAST = ["--iterations", "2", "--content-network", "content.safetensors", "--device", "cpu"]


def profile(*arguments: str, image: str = "photo.png") -> int:
    return cli.main(["profile", image, "mask.png", *FAST, *arguments])


def rows(text: str) -> dict[str, float]:
    """Shares in percent by the name of their row, of one printed table without its total."""
    found = re.findall(r"│ (\S.*?) +│ +[\d,]*? +│ +[\d.]+ │ +([\d.]+)% │", text)
    return {name: float(share) for name, share in found if name != "total"}


def test_a_stage_is_without_the_stages_inside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 2.0, 5.0, 7.0, 8.0, 9.0, 20.0])
    monkeypatch.setattr(stages, "time", SimpleNamespace(perf_counter=times.__next__))
    with StageClock(CPU) as clock:
        with stage("outer"), stage("inner"):
            pass
        with stage("inner"):
            pass
    assert clock.seconds == {OTHER: 1 + 1 + 11, "outer": 1 + 2, "inner": 3 + 1}
    assert clock.calls == {"outer": 1, "inner": 2}


def test_a_stage_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 3.0, 7.0])
    monkeypatch.setattr(stages, "time", SimpleNamespace(perf_counter=times.__next__))
    with StageClock(CPU) as clock, pytest.raises(ValueError, match="wrong"), stage("failing"):
        raise ValueError("wrong")
    assert clock.seconds == {"failing": 2, OTHER: 1 + 4}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_times_are_the_gpus() -> None:
    matrix = torch.rand(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    with StageClock(matrix.device) as clock:
        with stage("work"):
            for _ in range(20):
                matrix @ matrix
        with stage("nothing"):
            pass
    assert clock.seconds["work"] > 10 * clock.seconds["nothing"]


def test_without_a_clock_nothing_is_noted() -> None:
    with StageClock(CPU) as clock:
        pass
    with stage("late"):
        pass
    assert clock.seconds.keys() == {OTHER}


def test_only_the_last_run_is_whole() -> None:
    runs: list[tuple[object, str]] = []

    def run(config: InpaintConfig, activity: str) -> None:
        runs.append((config.iterations, activity))

    profiling.profile(run, InpaintConfig(iterations=60), CPU)
    profiling.profile(run, InpaintConfig(iterations=(30, 0, 5)), CPU)
    assert runs == [
        (1, profiling.WARMING_UP),
        (20, profiling.RECORDING),
        (60, profiling.TIMING),
        ((1, 0, 1), profiling.WARMING_UP),
        ((20, 0, 5), profiling.RECORDING),
        ((30, 0, 5), profiling.TIMING),
    ]


def test_operators_are_those_of_the_recorded_run() -> None:
    matrix = torch.rand(8, 8)

    def run(config: InpaintConfig, activity: str) -> None:
        for _ in range(3 if activity == profiling.RECORDING else 5):
            with stage("multiply"):
                matrix @ matrix

    course = profiling.profile(run, InpaintConfig(), CPU)
    (operator,) = (row for row in course.operators if row.name == "aten::mm")
    assert operator.calls == 3
    assert "multiply" not in {row.name for row in course.operators}
    assert [(row.name, row.calls) for row in course.stages] == [("multiply", 5), (OTHER, 0)]


def test_profile(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert profile("--trace", "trace.json", "-o", "out.png") == 0
    captured = capsys.readouterr()
    first, second = captured.out.split("Operators,")
    marked = {"files", "load networks", "content network", "resize", "known features", "match", "vote"}
    iteration = {"network forward", "network backward", "texture loss", "total variation", "optimiser step"}
    assert rows(first).keys() >= marked | iteration | {"composite", OTHER}
    assert rows(second).keys() >= {"aten::mkldnn_convolution", "neuralpatch::match_patches", OTHER}
    for table in (first, second):
        assert sum(rows(table).values()) == pytest.approx(100, abs=0.05 * len(rows(table)))
    for activity in ("warming up", "recording", "timing"):
        assert f"{activity}, scale 1/1" in captured.err
    trace = json.loads(Path("trace.json").read_text())
    assert {event["name"] for event in trace["traceEvents"]} >= marked | iteration
    assert not trace.keys() & {"host_name", "traceName"}
    assert str(folder) not in json.dumps(trace)
    assert {path.name for path in folder.iterdir()} == {
        "content.safetensors",
        "mask.png",
        "out.png",
        "photo.png",
        "trace.json",
    }


def test_the_written_image_is_that_of_inpaint() -> None:
    assert profile("-o", "profiled.png", "--quiet") == 0
    assert cli.main(["inpaint", "photo.png", "mask.png", "-o", "plain.png", *FAST, "--quiet"]) == 0
    assert Image.open("profiled.png").tobytes() == Image.open("plain.png").tobytes()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--trace", "trace.png"], r"Cannot write trace\.png: the suffix of a trace must be \.json\."),
        (["--trace", "nowhere/trace.json"], r"Cannot write nowhere/trace\.json: there is no folder .*nowhere\."),
        (["-o", "out.gif"], r"Cannot write out\.gif: its suffix must be one of .*\."),
        (["--alpha", "-1"], r"alpha must be a number of at least 0, not '-1'\."),
        (["--device", "tpu"], r"There is no device 'tpu'; use auto, cpu, cuda or cuda:N\."),
        (["--rounds", "3"], r"No such option: --rounds.*see neuralpatch --help\."),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], problem: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(folder.iterdir())
    assert profile(*arguments) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(f"Error: {problem}\n", captured.err)
    assert captured.out == ""
    assert set(folder.iterdir()) == before


def test_a_missing_photograph_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert profile(image="nothing.png") == 2
    assert capsys.readouterr().err == "Error: There is no file nothing.png.\n"
