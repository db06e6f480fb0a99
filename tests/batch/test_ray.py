from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("ray")

if TYPE_CHECKING:
    from tests.batch.conftest import Scans


def run(scans: Scans, *options: str, code: int = 0) -> dict[str, Any]:
    command = scans.command("--json", "--engine", "ray", "--workers", "2", *options)
    result = subprocess.run(command, env=scans.environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == code, result.stderr
    summary: dict[str, Any] = json.loads(result.stdout)
    return summary


def ends(scans: Scans) -> Counter[tuple[str, str]]:
    lines = map(json.loads, (scans.output / "journal.jsonl").read_text().splitlines())
    return Counter((record["item"], record["event"]) for record in lines if record["event"] != "started")


def test_a_killed_workers_photographs_are_filled_by_another(make_scans: Callable[[int], Scans]) -> None:
    scans = make_scans(24)
    scans.kill_at(11, "once")
    assert run(scans)["done"] == 24
    assert len(scans.outputs()) == 24
    assert ends(scans) == {(f"{index:03d}.png", "done"): 1 for index in range(24)}
    times = Counter(index for index, _ in scans.solved())
    assert times[11] == 2
    assert len({process for _, process in scans.solved()}) == 3
    assert run(scans)["skipped"] == 24


def test_a_photograph_that_kills_every_worker_fails_alone(make_scans: Callable[[int], Scans]) -> None:
    scans = make_scans(8)
    scans.kill_at(3, "always")
    summary = run(scans, code=1)
    assert summary["done"] == 7
    assert list(summary["failed"]) == ["003.png"]
    assert "died 3 times" in summary["failed"]["003.png"]
    assert len(scans.outputs()) == 7


def test_what_is_done_in_a_block_is_not_done_again() -> None:
    from neuralpatch_cuda.batch.ray_engine import ATTEMPTS, Ledger

    ledger = Ledger()
    ledger.end("done", "record")
    assert [ledger.begin("done") for _ in range(ATTEMPTS + 1)][-1] == (ATTEMPTS + 1, "record")
    assert [ledger.begin("killer") for _ in range(ATTEMPTS + 1)][-1] == (ATTEMPTS + 1, None)


def test_the_same_bytes_as_on_this_machine(make_scans: Callable[[int], Scans]) -> None:
    scans = make_scans(4)
    (scans.folder / "002.png").write_bytes(b"no image")
    summary = run(scans, code=1)
    assert list(summary["failed"]) == ["002.png"]
    by_ray = scans.outputs()
    for path in scans.output.iterdir():
        path.unlink()
    assert subprocess.run(scans.command("-q"), env=scans.environment).returncode == 1
    assert scans.outputs() == by_ray
