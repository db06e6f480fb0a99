"""`neuralpatch batch` as a user calls it, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from neuralpatch_cuda import cli

if TYPE_CHECKING:
    from tests.batch.conftest import Scans

QUICK = ["--iterations", "1", "--scales", "1", "--devices", "cpu"]


def batch(scans: Scans, *options: str) -> int:
    files = ["--image", str(scans.folder), "--mask", str(scans.mask), "-o", str(scans.output)]
    return cli.main(["batch", *files, *QUICK, *options])


def test_a_folder_and_one_mask(make_scans: Callable[[int], Scans], capsys: pytest.CaptureFixture[str]) -> None:
    scans = make_scans(3)
    assert batch(scans) == 0
    assert capsys.readouterr().out.startswith("3 filled, 0 done before, 0 failed in ")
    assert len(scans.outputs()) == 3
    assert batch(scans, "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) | {"seconds": 0} == {"done": 0, "skipped": 3, "failed": {}, "seconds": 0}
    assert captured.err == ""


def test_a_table_of_what_failed(make_scans: Callable[[int], Scans], capsys: pytest.CaptureFixture[str]) -> None:
    scans = make_scans(1)
    name = "[red]\x1b[31m\nx\udcff.png"
    (scans.folder / name).write_bytes(b"no image")
    assert batch(scans, "--quiet") == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("1 filled, 0 done before, 1 failed in ")
    shown = "".join(part.strip("│ ") for line in captured.out.splitlines() for part in line.split("│"))
    assert "[red]\\x1b[31m\\nx\\udcff.png" in shown
    assert "\x1b" not in captured.out + captured.err


def test_dry_run(make_scans: Callable[[int], Scans], capsys: pytest.CaptureFixture[str]) -> None:
    scans = make_scans(2)
    assert batch(scans, "--dry-run") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        f"{scans.folder}/00{index}.png + {scans.mask} -> {scans.output}/00{index}.png" for index in range(2)
    ]
    assert captured.err == "2 to do, 0 done before, 0 refused\n"
    assert not scans.output.exists()
    scans.output.mkdir()
    (scans.output / "001.png").touch()
    assert batch(scans, "--dry-run") == 2
    assert "001.png was there before; move it away, or use --overwrite." in capsys.readouterr().err


def test_what_does_not_match(
    make_scans: Callable[[int], Scans], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = make_scans(2)
    (tmp_path / "masks").mkdir()
    scans.mask.rename(tmp_path / "masks/001.png")
    command = ["batch", "--image", str(scans.folder), "--mask", str(tmp_path / "masks"), "-o", str(scans.output)]
    assert cli.main([*command, *QUICK]) == 2
    problem, error = capsys.readouterr().err.splitlines()
    assert problem == f"Problem: {scans.folder}/000.png has no mask."
    assert error.startswith("Error: 1 of the files above do not fit together")
    assert not scans.output.exists()
    assert cli.main([*command, *QUICK, "--dry-run"]) == 2
    assert cli.main([*command, *QUICK, "--skip-unmatched", "-q"]) == 0
    assert [path.name for path in scans.output.glob("*.png")] == ["001.png"]


def test_a_manifest_with_settings_of_its_own(
    make_scans: Callable[[int], Scans], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = make_scans(1)
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        "image,mask,output,noise,quality\nin/000.png,mask.png,a.png,,\nin/000.png,mask.png,b.jpg,0.9,30\n"
    )
    command = ["batch", "--manifest", str(manifest), "-o", str(scans.output), *QUICK]
    assert cli.main(command) == 0
    assert cli.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["skipped"] == 2
    manifest.write_text(manifest.read_text().replace("0.9", "0.8"))
    assert cli.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Give either --image, with or without --mask, or --manifest."),
        (["--image", "x", "--manifest", "y"], "Give either --image"),
        (["--mask", "x", "--manifest", "y"], "Give either --image"),
        (["--image", "nowhere"], "There is no file or folder nowhere."),
        (["--image", "in", "--format", "doc"], "The format must be one of png, jpg"),
        (["--image", "in", "--mask", "mask.png", "--shard", "3/2"], "The shard must be like 2/8"),
        (["--image", "in", "--mask", "mask.png", "--devices", "tpu"], "There is no device 'tpu'"),
        (["--image", "in", "--mask", "mask.png", "--devices", "all"], "There is no GPU|nothing"),
        (["--image", "in", "--mask", "mask.png", "--engine", "ray", "--workers", "2-1"], "The workers must be like"),
        (
            ["--image", "in", "--mask", "mask.png", "--quality", "0"],
            "'--quality': Input should be greater than or equal to 1",
        ),
        (["--image", "in", "--mask", "mask.png", "--alpha", "-1"], "alpha must be a number of at least 0"),
        (["--image", "in", "--mask", "mask.png", "-o", "mask.png"], "Cannot make the folder mask.png"),
        (["--manifest", "list.csv"], "The manifest list.csv cannot be read"),
    ],
)
def test_wrong_use(
    make_scans: Callable[[int], Scans],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scans = make_scans(1)
    monkeypatch.chdir(scans.mask.parent)
    if "all" in options:
        monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert cli.main(["batch", "-o", "out", *options]) == 2
    captured = capsys.readouterr()
    sentence = captured.err.splitlines()[-1]
    assert any(part in sentence for part in said.split("|")), sentence
    assert "Traceback" not in captured.err and captured.out == ""
