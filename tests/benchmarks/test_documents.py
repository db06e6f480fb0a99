"""The documents say what the committed results say; where something was not measured, they say that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import committed, documents, figures, page, tables

HOW = "out of date: run `make tables`"


@pytest.mark.parametrize("path", list(documents.documents()), ids=lambda path: str(path.relative_to(documents.ROOT)))
def test_tables_are_up_to_date(path: Path) -> None:
    text = path.read_text()
    assert documents.filled(text) == text, HOW


def test_page_is_up_to_date() -> None:
    assert page.PAGE.read_text() == page.page(), HOW


def test_every_table_is_shown() -> None:
    text = "".join(path.read_text() for path in documents.documents())
    for name, rows in tables.TABLES.items():
        assert tables.markdown(rows()) in text, name


def test_filling() -> None:
    text = "Before.\n\n<!-- table ray -->\n| stale |\n| --- |\n<!-- end -->\n\nAfter.\n"
    filled = documents.filled(text)
    assert filled.startswith("Before.\n\n<!-- table ray -->\n| | seconds a photograph | min to max |\n| --- |")
    assert filled.endswith(" |\n<!-- end -->\n\nAfter.\n") and "stale" not in filled
    assert documents.filled(text.replace("| stale |\n| --- |\n", "")) == filled


def test_prose_is_never_replaced() -> None:
    with pytest.raises(ValueError, match="something else than a table"):
        documents.filled("<!-- table ray -->\n| a |\nProse.\n<!-- end -->\n")
    with pytest.raises(ValueError, match="something else than a table"):
        documents.filled("<!-- table ray -->\n| a |\n\nProse.\n\n<!-- table batch -->\n<!-- end -->\n")


def test_rounding() -> None:
    shown = [figures.duration(s) for s in (0.0000301, 0.000173, 0.00595, 0.0775, 0.579, 1.08, 17.5, 198.4, 4321)]
    assert shown == ["0.030 ms", "0.17 ms", "5.95 ms", "77.5 ms", "579 ms", "1.08 s", "17.5 s", "198 s", "4,321 s"]
    assert [figures.times(x) for x in (None, 0.3, 1.04, 7.31, 18.5, 988.1)] == [
        "",
        "0.30",
        "1.04",
        "7.3",
        "18.5",
        "988",
    ]
    assert [figures.megabytes(x) for x in (None, 4096, 712704, 13.4e6)] == ["", "0", "0.7", "13"]
    assert [figures.per_second(x, "B/s") for x in (7.54e9, 75.4e9, 3.6e12)] == ["7.5 GB/s", "75 GB/s", "3.6 TB/s"]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the committed results, which is what is read."""
    copy = tmp_path / "results"
    shutil.copytree(committed.RESULTS, copy)
    monkeypatch.setattr(committed, "RESULTS", copy)
    committed.load.cache_clear()
    yield copy
    committed.load.cache_clear()


def test_what_was_not_measured(results: Path) -> None:
    (results / committed.CPU / "inpaint.json").unlink()
    (results / committed.GPU / "vote.json").unlink()
    path = results / committed.GPU / "match.json"
    content = json.loads(path.read_text())
    content["benchmarks"] = [b for b in content["benchmarks"] if b["params"]["case"] != "relu3_1, 2048 px"]
    path.write_text(json.dumps(content))
    cpu, gpu = page.page().split("\n## NVIDIA H200\n")
    assert "released in 2017:\n\nNot measured yet.\n" in cpu
    assert "#### vote_patches\n\nNot measured yet.\n" in gpu
    assert "| relu3_1, 2,048 px: 66,564 x 192,000 patches, C = 256 | bf16 | not measured yet | | | | | |\n" in gpu
    operators = tables.markdown(tables.TABLES["operators"]())
    assert operators.count("not measured yet |") == 2  # on the GPU, beside what the CPU has


def test_measures_and_methods_that_a_comparison_lacks(results: Path) -> None:
    path = results / "pairs.json"
    content = json.loads(path.read_text())
    first, second, *_ = content["standings"]
    for name, mean in (("stray_mean", 1.714), ("seam", 1.5), ("sharpness", 0.93)):
        first["measures"][name] = {"mean": mean, "low": mean - 0.514, "high": mean + 0.586}
    first["median_seconds"], second["measures"]["sharpness"]["mean"] = 17.6, 0.14
    for name in ("stray_mean", "efficientnet", "seam"):
        second["measures"].pop(name, None)
    first["measures"].pop("efficientnet", None)
    content["standings"] = [first, second]
    path.write_text(json.dumps(content))
    lines = [tables.markdown(tables.TABLES[name]()).splitlines() for name in ("pairs", "pairs-in-short")]
    for headings, _, *rows in lines:
        assert len(rows) == len(tables.COMPARED)
        assert {row.count("|") for row in rows} == {headings.count("|")}
        assert all("| not measured yet | |" in row for row in rows[2:-1])
        assert rows[-1].startswith("| the authors' release") and " | | " in rows[-1]  # of another run
    assert "| 1.50 | 1.71 |" in lines[0][2] and "| 0.14 | | |" in lines[0][3]
    assert "| 0.93 | 1.71 | | 17.6 |" in lines[1][2]
    intervals = tables.markdown(tables.TABLES["pairs-intervals"]())
    assert "| 1.71 (1.20 to 2.30) | |\n" in intervals and "| not measured yet | | | |\n" in intervals


def test_a_new_device_gets_a_section(results: Path) -> None:
    folder = results / "another-gpu"
    folder.mkdir()
    text = (results / committed.GPU / "match.json").read_text()
    (folder / "match.json").write_text(text.replace("NVIDIA H200", "Another GPU"))
    first = page.page().split("\n## ")[3]
    assert first.startswith("Another GPU\n") and first.count("Not measured yet.") == 5 + 3


def test_the_processor_of_a_gpus_machine_is_left_out(results: Path) -> None:
    before = page.page()
    path = results / committed.GPU / "vote.json"
    content = json.loads(path.read_text())
    content["benchmarks"] += json.loads((results / committed.CPU / "vote.json").read_text())["benchmarks"]
    path.write_text(json.dumps(content))
    committed.load.cache_clear()
    assert page.page() == before
