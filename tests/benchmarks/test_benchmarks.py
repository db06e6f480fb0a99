"""The benchmarks run, at a tiny size: what they measure, write, print and draw."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import measure, run
from benchmarks.slug import slug
from neuralpatch_cuda.evaluation.memory import reset_peak_resident

ROOT = Path(__file__).parents[2]
OPERATORS = sorted(set(run.NAMES) - {"inpaint"})


SMALL = ["-k", "small and not compiled", "--benchmark-max-time=0.001"]


def python(*arguments: str) -> str:
    """What a command prints."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a run of all operators' benchmarks prints and writes."""
    file = tmp_path_factory.mktemp("results") / "results.json"
    files = [f"benchmarks/bench_{name}.py" for name in OPERATORS]
    printed = python("-m", "pytest", *files, *SMALL, f"--benchmark-json={file}", "--benchmark-quiet")
    return printed, json.loads(file.read_text())


@pytest.fixture
def benchmarks(output: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return output[1]["benchmarks"]


def test_every_operator_is_measured_beside_others(benchmarks):
    functions: dict[tuple[str, str], set[str]] = {}
    for benchmark in benchmarks:
        file = benchmark["fullname"].split("::")[0]
        functions.setdefault((file, benchmark["group"]), set()).add(benchmark["extra_info"]["function"])
    assert {Path(file).stem for file, _ in functions} == {f"bench_{name}" for name in OPERATORS}
    for group, names in functions.items():
        assert names >= {"op", "reference"} and len(names) >= 3, group


def test_figures(benchmarks):
    for benchmark in benchmarks:
        info, stats = benchmark["extra_info"], benchmark["stats"]
        assert stats["rounds"] >= 5
        rate = info.get("flop_per_s") or info["byte_per_s"]
        assert info["share"] == pytest.approx(rate / info["ceiling"])
        (reference,) = (
            other["stats"]["median"]
            for other in benchmarks
            if other["group"] == benchmark["group"] and other["extra_info"]["function"] == "reference"
        )
        assert info["ratio"] == pytest.approx(reference / stats["median"])
        assert ("best_peer" in info) == info["function"].startswith("op")


def test_table(output):
    lines = [line.split() for line in output[0].splitlines()]
    assert ["median", "min", "to", "max", "x", "reference"] in [line[:6] for line in lines]
    assert sum(line[:1] == ["reference"] and "1.00" in line for line in lines) >= len(OPERATORS)


def test_run_names_the_device_but_not_the_host(tmp_path):
    python("-m", "benchmarks.run", "extract", "--out", str(tmp_path), *SMALL)
    (file,) = tmp_path.glob("*/*.json")
    text = file.read_text()
    result = json.loads(text)
    assert (file.parent.name, file.name) == (slug(result["machine_info"]["device"]), "extract.json")
    assert result["machine_info"]["torch"] == torch.__version__
    assert result["datetime"] and result["commit_info"]["id"]
    assert f'"{platform.node()}"' not in text and str(ROOT) not in text


def test_unknown_name(capsys):
    with pytest.raises(SystemExit):
        run.main(["matching"])
    assert "no benchmark is named matching: there are extract" in capsys.readouterr().err


def test_plots(tmp_path):
    plot = pytest.importorskip("benchmarks.plot", exc_type=ImportError)
    rows = [
        {
            "name": f"test[{size}]",
            "stats": {"median": 1e-9 * size**2},
            "extra_info": {"function": "op", "precision": "fp32", "device": "cpu", "size": size, "extra_bytes": None},
        }
        for size in (10, 100, 1000)
    ]
    seconds, extra_bytes = plot.series(rows, "fp32")
    assert plot.slope(seconds["op"]) == pytest.approx(2)
    assert not extra_bytes and plot.series(rows, "bf16")[0] == {}
    folder = tmp_path / "a-device"
    folder.mkdir()
    results = {"benchmarks": rows, "machine_info": {"device": "a device", "torch": "2"}}
    (folder / "match.json").write_text(json.dumps(results))
    assert plot.main([str(folder), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "match-a-device.png").stat().st_size < 200_000
    (folder / "match.json").write_text("{}")
    assert plot.main([str(folder), "--out", str(tmp_path)]) == 1


def test_peak_memory():
    if reset_peak_resident() is None:
        pytest.skip("this system does not tell a process's peak memory")
    size = 64_000_000

    def call() -> torch.Tensor:
        torch.ones(2 * size, dtype=torch.uint8)  # freed again
        return torch.ones(size, dtype=torch.uint8)

    for _ in range(2):
        _, extra = measure.timed_with_memory(call, "cpu")
        assert extra == pytest.approx(2 * size, rel=0.05)


def test_large_peers_are_skipped():
    """Ten times the work is predicted to take ten times as long, and as much memory."""
    info = {"function": "slow", "precision": "fp32", "device": "cpu", "size": 1}
    small = measure.Record("test", "group", 1e6, 3.0, info | {"extra_bytes": 0})
    measuring = measure.Measure(None, "test", 5, 1.0, 10.0, [small])
    measuring._skip_if_too_large(info | {"size": 3}, 3e6, "cpu")
    with pytest.raises(pytest.skip.Exception, match="about 30 s; --peer-seconds allows 10"):
        measuring._skip_if_too_large(info | {"size": 10}, 1e7, "cpu")
    small.median, small.info["extra_bytes"] = 1e-6, measure.free_bytes("cpu")
    with pytest.raises(pytest.skip.Exception, match="GB of memory"):
        measuring._skip_if_too_large(info | {"size": 10}, 1e7, "cpu")
