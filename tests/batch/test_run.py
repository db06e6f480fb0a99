from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from neuralpatch_cuda.batch.item import Item
from neuralpatch_cuda.batch.journal import Journal, Record, read_journals
from neuralpatch_cuda.batch.run import Report, Summary, interruptible, make_plan, parse_shard, run, share
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError, OutputError


def make_items(folder: Path, count: int = 3, **options: object) -> list[Item]:
    (folder / "mask").write_text("mask")
    items = []
    for index in range(count):
        image = folder / f"in{index}"
        if not image.exists():
            image.write_text(f"image {index}")
        output = folder / "out" / f"{index}.png"
        items.append(Item(output.name, image, folder / "mask", output, InpaintConfig(**options)))
    return items


def copies(items: Iterable[Item], report: Report) -> None:
    """An engine that fills nothing, and fails where the image says so."""
    for item in items:
        report([Record(event="started", item=item.name)])
        content = item.image.read_text()
        if content == "bad":
            report([Record(event="failed", item=item.name, key=item.key(), error="It is bad.")])
            continue
        item.output.write_text(content)
        report([Record(event="done", item=item.name, key=item.key(), bytes=len(content))])


def fill(items: list[Item], folder: Path, overwrite: bool = False) -> Summary:
    return run(make_plan(items, folder / "out", overwrite), folder / "out", copies)


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    items = make_items(tmp_path)
    first = fill(items, tmp_path)
    assert (first.done, first.skipped, first.failed) == (3, 0, [])
    second = fill(items, tmp_path)
    assert (second.done, second.skipped, second.failed) == (0, 3, [])
    assert len((tmp_path / "out/journal.jsonl").read_text().splitlines()) == 6


def test_what_failed_or_changed_is_done_again(tmp_path: Path) -> None:
    items = make_items(tmp_path)
    items[0].image.write_text("bad")
    assert [record.item for record in fill(items, tmp_path).failed] == ["0.png"]
    items[0].image.write_text("good")
    items[1].output.unlink()
    plan = make_plan(items, tmp_path / "out")
    assert [item.name for item in plan.todo] == ["0.png", "1.png"]
    fill(items, tmp_path)
    assert make_plan(items, tmp_path / "out").skipped == 3
    os.utime(items[2].mask, ns=(0, 0))
    assert len(make_plan(items, tmp_path / "out").todo) == 3
    fill(items, tmp_path)
    assert len(make_plan(make_items(tmp_path, alpha=2), tmp_path / "out").todo) == 3


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    items = make_items(tmp_path)
    items[0].output.parent.mkdir()
    items[0].output.write_text("precious")
    fill(items[1:], tmp_path)
    items[1].output.write_text("retouched by hand")
    changed = make_items(tmp_path, alpha=2)
    summary = fill(changed, tmp_path)
    assert summary.done == 1
    assert [record.error for record in summary.failed] == [
        f"{tmp_path}/out/0.png was there before; move it away, or use --overwrite.",
        f"{tmp_path}/out/1.png was changed since it was written; move it away, or use --overwrite.",
    ]
    assert items[0].output.read_text() == "precious"
    assert items[1].output.read_text() == "retouched by hand"
    assert fill(changed, tmp_path, overwrite=True).done == 2
    assert items[1].output.read_text() == "image 1"


def test_an_output_that_was_not_journalled_is_written_again(tmp_path: Path) -> None:
    items = make_items(tmp_path, 1)
    items[0].output.parent.mkdir()
    with Journal(tmp_path / "out") as journal:
        journal.append([Record(event="started", item="0.png")])
    items[0].output.write_text("of a run that was killed")
    assert fill(items, tmp_path).done == 1


def test_a_journal_that_was_cut_off(tmp_path: Path) -> None:
    items = make_items(tmp_path)
    fill(items, tmp_path)
    path = tmp_path / "out/journal.jsonl"
    content = path.read_bytes()
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        states = read_journals(tmp_path / "out")
        assert all(state.key is None or state.bytes == 7 for state in states.values())
    path.write_bytes(content[:-9] + b"")
    assert fill(items, tmp_path).done == 1
    lines = path.read_text().splitlines()
    assert sum('"done"' in line and line.endswith("}") for line in lines) == 3
    assert make_plan(items, tmp_path / "out").skipped == 3


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[]", b"3", b"{}", b'{"event":"done"}', b"\0" * 100, b"[" * 100000])
def test_nonsense_in_a_journal_is_passed_over(tmp_path: Path, line: bytes) -> None:
    items = make_items(tmp_path, 1)
    fill(items, tmp_path)
    with (tmp_path / "out/journal.jsonl").open("ab") as file:
        file.write(line + b"\n")
    assert make_plan(items, tmp_path / "out").skipped == 1


def test_one_run_at_a_time(tmp_path: Path) -> None:
    items = make_items(tmp_path)
    plan = make_plan(items, tmp_path / "out")
    (tmp_path / "out").mkdir()
    with Journal(tmp_path / "out"), pytest.raises(OutputError, match=r"Another batch is at work on .*/out"):
        run(plan, tmp_path / "out", copies)
    assert run(plan, tmp_path / "out", copies).done == 3


def test_shards_have_a_journal_each_and_know_all_of_them(tmp_path: Path) -> None:
    items = make_items(tmp_path, 7)
    for index in (1, 2, 3):
        part = share(items, (index, 3))
        assert part == items[index - 1 :: 3]
        run(make_plan(part, tmp_path / "out"), tmp_path / "out", copies, (index, 3))
    assert sorted(path.name for path in (tmp_path / "out").glob("journal*")) == [
        "journal-1-of-3.jsonl",
        "journal-2-of-3.jsonl",
        "journal-3-of-3.jsonl",
    ]
    assert make_plan(items, tmp_path / "out").skipped == 7
    assert parse_shard("2/8") == (2, 8)
    for text in ("", "0/3", "4/3", "1", "a/b", "1/2/3", "-1/2"):
        with pytest.raises(ConfigError, match="The shard must be like 2/8"):
            parse_shard(text)


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    items = make_items(tmp_path, 1)
    (tmp_path / "out").mkdir()
    left, other = tmp_path / "out/.0.png.0123abcd.partial", tmp_path / "out/.1.png.0123abcd.partial"
    left.touch()
    other.touch()
    fill(items, tmp_path)
    assert not left.exists()
    assert other.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="Cannot make the folder"):
        fill(make_items(tmp_path), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_ends_the_run_and_keeps_what_is_done(tmp_path: Path, number: int) -> None:
    items = make_items(tmp_path)

    def stops(items: Iterable[Item], report: Report) -> None:
        copies([next(iter(items))], report)
        os.kill(os.getpid(), number)
        raise AssertionError("The signal raises.")

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interruptible() as cancelled:
        run(make_plan(items, tmp_path / "out"), tmp_path / "out", stops)
    assert cancelled.is_set()
    assert signal.getsignal(number) is before
    assert fill(items, tmp_path).skipped == 1


def test_the_journal_survives_the_death_of_its_writer(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from neuralpatch_cuda.batch.journal import Journal, Record\n"
        "with Journal(Path(sys.argv[1])) as journal:\n"
        "    journal.append([Record(event='done', item='a', bytes=1)])\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    with Journal(tmp_path):  # its lock is gone with it
        assert read_journals(tmp_path)["a"].bytes == 1
