"""What the benchmarks share; measure.py says how they are measured.

pytest benchmarks/bench_match.py -k "cpu and fp32"                              # some of them
pytest benchmarks --benchmark-autosave                                          # keep the results in .benchmarks
pytest benchmarks --benchmark-compare --benchmark-compare-fail=median:10%       # with those kept last
pytest-benchmark compare --columns=median,rounds                                # those kept, beside one another
python -m benchmarks.run                                                        # into benchmarks/results (make bench)

pytest-benchmark's options work as ever, but for the timer, the rounds within a call and the warm-up, which measure.py
decides. The last table of a run is pytest-benchmark's own, with what was compared; --benchmark-quiet leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from benchmarks.machine import device_name, machine_info
from benchmarks.measure import Measure, Record, synchronized_clock
from benchmarks.report import table

RECORDS = pytest.StashKey[list[Record]]()
FINISHED = pytest.StashKey[list[Mapping[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--peer-seconds",
        type=float,
        default=10,
        metavar="SECONDS",
        help="Skip a peer where the next smaller size predicts that a call takes longer. Default: %(default)s",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=synchronized_clock))


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest) -> Measure:
    options = request.config
    return Measure(
        benchmark,
        test=request.function.__name__,
        min_rounds=options.getoption("benchmark_min_rounds"),
        max_time=float(options.getoption("benchmark_max_time")),
        peer_seconds=options.getoption("peer_seconds"),
        records=options.stash.setdefault(RECORDS, []),
    )


def pytest_benchmark_generate_machine_info() -> dict[str, Any]:
    return machine_info()


def pytest_benchmark_update_commit_info(commit_info: dict[str, Any]) -> None:
    for key in commit_info.keys() - {"id", "time", "dirty"}:  # folder and branch names are nobody's business
        del commit_info[key]


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_group_stats(config: pytest.Config, benchmarks: Iterable[Mapping[str, Any]]) -> None:
    """Keeps what was measured for the table; pytest-benchmark does the grouping."""
    config.stash[FINISHED] = [benchmark for benchmark in benchmarks if benchmark["path"] is None]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if benchmarks := config.stash.get(FINISHED, None):
        terminalreporter.section(device_name())
        for line in table(benchmarks):
            terminalreporter.write_line(line)
