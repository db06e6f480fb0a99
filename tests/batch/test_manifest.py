from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuralpatch_cuda.batch.manifest import read_manifest
from neuralpatch_cuda.batch.pairing import Pairing, Rules
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "a/2.jpg", "m.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def read(folder: Path, name: str, content: str | bytes) -> Pairing:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_manifest(path, Rules(folder / "out", InpaintConfig(beta=0.5), None, 90))


def test_csv(folder: Path) -> None:
    table = '\ufeffimage,mask,output,quality,alpha,iterations\na/1.jpg,m.png,,,,\na/2.jpg,m.png,x/two.png,80,2,"3,4"\n'
    pairing = read(folder, "list.csv", table)
    assert pairing.problems == []
    first, second = pairing.items
    assert (first.name, first.image, first.mask) == ("a/1.jpg", folder / "a/1.jpg", folder / "m.png")
    assert (first.config, first.quality) == (InpaintConfig(beta=0.5), 90)
    assert (second.name, second.output, second.quality) == ("x/two.png", folder / "out/x/two.png", 80)
    assert second.config == InpaintConfig(beta=0.5, alpha=2, iterations=(3, 4))


def test_jsonl(folder: Path) -> None:
    rows = [
        {"image": str(folder / "a/1.jpg"), "mask": "m.png", "seed": 7},
        {"image": "a/2.jpg", "mask": "m.png", "iterations": [1, 2]},
    ]
    pairing = read(folder, "list.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    assert pairing.problems == []
    assert [item.name for item in pairing.items] == ["1.jpg", "a/2.jpg"]
    assert [(item.config.seed, item.config.iterations) for item in pairing.items] == [(7, 60), (0, (1, 2))]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({}, "The column image has no file's name."),
        ({"image": "a/1.jpg"}, "The column mask has no file's name."),
        ({"image": "a/9.jpg", "mask": "m.png"}, "There is no file .*9.jpg."),
        ({"image": ["a"], "mask": "m.png"}, "The column image has no file's name."),
        ({"image": "../x.jpg", "mask": "m.png"}, r"The path '../x.jpg' must be text, without '..' and NUL."),
        ({"image": "a\udcff", "mask": "m.png"}, r"The path 'a\\udcff' must be text"),
        ({"image": "a\0", "mask": "m.png"}, r"The path 'a\\x00' must be text"),
        ({"output": "/etc/x.png"}, "The output /etc/x.png must be relative"),
        ({"output": "b/../../x.png"}, "must be text"),
        ({"output": "x.exe"}, r"The output x.exe must end in one of .png"),
        ({"output": 3}, "The output must be a file's name."),
        ({"output": "."}, "must end in one of"),
        ({"quality": 0}, "quality must be a whole number from 1 to 100, not 0."),
        ({"quality": "high"}, "quality must be"),
        ({"alpha": -1}, "alpha must be a number of at least 0, not -1."),
        ({"alpha": {"a": 1}}, "alpha must be a number"),
        ({"speed": 1}, "There is no option 'speed'"),
        ({"content_network": "os:system"}, "content_network is chosen for the whole batch"),
        ({"texture_network": "vgg19"}, "texture_network is chosen for the whole batch"),
        ([1], "This is not a row of named values."),
        (3, "This is not a row of named values."),
    ],
)
def test_a_bad_row_is_a_problem_of_its_line(folder: Path, row: object, problem: str) -> None:
    good = {"image": "a/1.jpg", "mask": "m.png"}
    if isinstance(row, dict) and row and not {"image", "mask"} & set(row):
        row = good | row
    pairing = read(folder, "list.jsonl", json.dumps(good) + "\n" + json.dumps(row) + "\n")
    assert len(pairing.items) == 1
    (said,) = pairing.problems
    with pytest.raises(ValueError, match=problem):  # `match` searches
        raise ValueError(said)
    assert f"{folder}/list.jsonl, line 2: " in said and "\n" not in said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.csv", b"", "has no rows"),
        ("list.jsonl", b"\n\n", "has no rows"),
        ("list.csv", b"image,mask\na/1.jpg,m.png,3\n", "line 2: This is not a row of named values"),
        ("list.csv", b"a\0b,c\n1,2\n", "has no file's name|is not a table"),
        ("list.jsonl", b"{" * 100000, "line 1: This is not a row"),
        ("list.jsonl", b"[" * 100000, "line 1: This is not a row"),
        ("list.csv", b"image,mask\nnothing,m.png\n", "There is no file"),
        ("list.csv", b'image,mask\n"a/1.jpg,m.png\n', "is not a table|has no file's name"),
    ],
)
def test_damaged_tables_are_problems(folder: Path, name: str, content: bytes, said: str) -> None:
    try:
        pairing = read(folder, name, content)
    except ConfigError as error:
        sentences = [str(error)]
    else:
        assert pairing.items == []
        sentences = pairing.problems
    with pytest.raises(ValueError, match=said):
        raise ValueError(" ".join(sentences))


def test_what_is_no_manifest(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be a \.csv or a \.jsonl file"):
        read(folder, "list.xlsx", "")
    with pytest.raises(ConfigError, match="is not a table in UTF-8"):
        read(folder, "list.csv", b"image,mask\n\xff\xfe,b\n")
    with pytest.raises(ConfigError, match="is not a table in UTF-8"):
        read(folder, "list.csv", b"image,mask\n" + b"x" * 200_000 + b",b\n")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_manifest(folder / "none.csv", Rules(folder, InpaintConfig()))


def test_outputs_must_differ(folder: Path) -> None:
    pairing = read(folder, "list.csv", "image,mask\na/1.jpg,m.png\na/1.jpg,m.png\n")
    assert len(pairing.items) == 1
    assert "would both be written to" in pairing.problems[0]
