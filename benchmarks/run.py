"""Runs the benchmarks and keeps their JSON: `python -m benchmarks.run [match vote ...] [--out FOLDER]`.

Each benchmarks/bench_NAME.py runs in a process of its own and leaves FOLDER/DEVICE/NAME.json, without the single
timings. Exits with 1 if any of them failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import device_name
from benchmarks.slug import slug

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def run(name: str, folder: Path, pytest_options: Sequence[str]) -> bool:
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "benchmarks.json"
        command = [sys.executable, "-m", "pytest", f"benchmarks/bench_{name}.py", f"--benchmark-json={output}"]
        command += ["--benchmark-quiet", "-q", "-ra", "-W", "ignore", "-p", "no:cacheprovider", *pytest_options]
        passed = subprocess.run(command, cwd=HERE.parent, check=False).returncode == 0
        if output.exists() and output.stat().st_size:
            results = json.loads(output.read_text())
            for benchmark in results["benchmarks"]:
                del benchmark["stats"]["data"]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    return passed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Runs the benchmarks and keeps their JSON.", epilog="Anything else is handed on to pytest."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all by default")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    options, pytest_options = parser.parse_known_args(arguments)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")

    folder = options.out / slug(device_name())
    failed = [name for name in options.names or NAMES if not run(name, folder, pytest_options)]
    print(f"Results are in {folder}.")
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
