"""The benchmark of the whole pipeline runs; its figures are not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_variant_is_measured_against_the_release(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_inpaint.py", "-q", f"--benchmark-json={results}"]
    tiny = os.environ | {"BENCH_SIDE": "128", "BENCH_ITERATIONS": "2"}
    done = subprocess.run(command, cwd=ROOT, env=tiny, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    released, best_case, *ours = json.loads(results.read_text())["benchmarks"]
    assert released["extra_info"]["seconds"] > 0
    assert "ratio" in best_case["extra_info"]
    assert len(ours) >= 4
    for variant in ours:
        assert {"ratio", "over_best_peer", "best_peer", "extra_bytes", "precision"} <= variant["extra_info"].keys()
