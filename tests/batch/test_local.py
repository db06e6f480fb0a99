from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from neuralpatch_cuda.batch.journal import read_journals

if TYPE_CHECKING:
    from tests.batch.conftest import Scans


def run(scans: Scans, *options: str, code: int = 0) -> dict[str, Any]:
    """Run the batch to its end; returns what it prints."""
    result = subprocess.run(
        scans.command("--json", *options), env=scans.environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == code, result.stderr
    summary: dict[str, Any] = json.loads(result.stdout)
    return summary


def records(scans: Scans) -> list[dict[str, Any]]:
    lines = [line for path in scans.output.glob("journal*.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def test_two_hundred_photographs_and_ten_kills(make_scans: Callable[[int], Scans]) -> None:
    scans = make_scans(200)
    journal = scans.output / "journal.jsonl"
    chance = random.Random(0)
    for _ in range(10):
        process = subprocess.Popen(scans.command("--quiet"), env=scans.environment, stderr=subprocess.PIPE)
        done = journal.read_bytes().count(b'"done"') if journal.exists() else 0
        wanted = done + chance.randint(1, 18)
        deadline = time.monotonic() + 120
        while not journal.exists() or journal.read_bytes().count(b'"done"') < wanted:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        scans.outputs()  # all whole
    assert 10 <= len(scans.outputs()) < 200
    assert run(scans)["failed"] == {}

    assert len(scans.outputs()) == 200
    times = Counter(index for index, _ in scans.solved())
    assert set(times) == set(range(200))
    assert max(times.values()) <= 2
    assert sum(times.values()) <= 200 + 4 * 10  # a kill meets two that are solved and two that are written
    assert [path.name for path in scans.output.iterdir() if path.suffix == ".partial"] == []
    states = read_journals(scans.output)
    assert len(states) == 200
    for name, state in states.items():
        assert state.event == "done"
        assert state.bytes == (scans.output / name).stat().st_size
    assert run(scans) | {"seconds": 0} == {"done": 0, "skipped": 200, "failed": {}, "seconds": 0}


def test_errors_of_some_end_nothing(make_scans: Callable[[int], Scans]) -> None:
    scans = make_scans(5)
    (scans.folder / "001.png").write_bytes(b"no image")
    content = (scans.folder / "003.png").read_bytes()
    (scans.folder / "003.png").write_bytes(content[: len(content) // 2])
    summary = run(scans, code=1)
    assert summary["done"] == 3
    assert set(summary["failed"]) == {"001.png", "003.png"}
    assert "is not an image that can be read" in summary["failed"]["001.png"]
    assert set(scans.outputs()) == {"000.png", "002.png", "004.png"}
    failed = [record for record in records(scans) if record["event"] == "failed"]
    assert {record["item"]: record["error"] for record in failed} == summary["failed"]

    (scans.folder / "003.png").write_bytes(content)
    again = run(scans, code=1)
    assert (again["done"], again["skipped"], set(again["failed"])) == (1, 3, {"001.png"})


def test_a_process_for_each_device_gives_the_same_bytes(make_scans: Callable[[int], Scans]) -> None:
    scans = make_scans(8)
    run(scans)
    alone = scans.outputs()
    for path in scans.output.iterdir():
        path.unlink()
    assert run(scans, "--devices", "cpu,cpu")["done"] == 8
    assert scans.outputs() == alone
    assert len({process for _, process in scans.solved()}) >= 2


@pytest.mark.parametrize("how_often", ["once", "always"])
def test_a_process_that_dies_is_replaced(make_scans: Callable[[int], Scans], how_often: str) -> None:
    scans = make_scans(8)
    scans.kill_at(3, how_often)
    summary = run(scans, "--devices", "cpu,cpu", code=int(how_often == "always"))
    times = Counter(index for index, _ in scans.solved())
    if how_often == "once":
        assert summary["done"] == 8
        assert times[3] == 2
    else:
        assert summary["done"] == 7
        assert list(summary["failed"]) == ["003.png"]
        assert "died each time (exit code -9)" in summary["failed"]["003.png"]
        assert times[3] == 3
    assert len(scans.outputs()) == summary["done"]


def test_shards_do_everything_once(make_scans: Callable[[int], Scans]) -> None:
    scans = make_scans(7)
    both = [subprocess.Popen(scans.command("-q", "--shard", f"{i}/2"), env=scans.environment) for i in (1, 2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert sorted(index for index, _ in scans.solved()) == list(range(7))
    assert len(scans.outputs()) == 7
    assert run(scans)["skipped"] == 7


@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu"])
def test_ctrl_c(make_scans: Callable[[int], Scans], devices: str) -> None:
    scans = make_scans(100)
    command = scans.command("--devices", devices)
    process = subprocess.Popen(
        command,
        env=scans.environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(scans.solved()) < 10:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all processes of the group
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors
    files = {path.name for path in scans.output.iterdir()}
    assert not [name for name in files if name.endswith(".partial")]
    done = {record["item"] for record in records(scans) if record["event"] == "done"}
    assert 0 < len(done) < 100
    assert set(scans.outputs()) >= done
    assert run(scans)["done"] == 100 - len(done)


def test_two_at_once_on_one_device(make_scans: Callable[[int], Scans]) -> None:
    scans = make_scans(6)
    run(scans, "--jobs", "1")
    alone = scans.outputs()
    for path in scans.output.iterdir():
        path.unlink()
    run(scans, "--jobs", "2")
    assert scans.outputs() == alone


def test_networks_that_are_not_there_are_said_at_once(make_scans: Callable[[int], Scans], tmp_path: Path) -> None:
    scans = make_scans(2)
    for devices in ("cpu", "cpu,cpu"):
        command = scans.command("-q", "--devices", devices, "--texture-network", str(tmp_path / "none.pth"))
        result = subprocess.run(command, env=scans.environment, capture_output=True, text=True, timeout=120)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert "none.pth" in result.stderr


def test_what_is_logged(make_scans: Callable[[int], Scans]) -> None:
    scans = make_scans(2)
    for level, lines in (("info", 4), ("warning", 0)):
        environment = scans.environment | {"NEURALPATCH_LOG": level, "COLUMNS": "200"}
        result = subprocess.run(
            scans.command("-q"), env=environment, capture_output=True, text=True, timeout=120, check=True
        )
        logged = [
            line
            for line in result.stderr.splitlines()
            if re.search(r"INFO +00[01]\.png: (started|done)$", line.strip())
        ]
        assert len(logged) == len(result.stderr.splitlines()) == lines
        for path in scans.output.iterdir():
            path.unlink()
