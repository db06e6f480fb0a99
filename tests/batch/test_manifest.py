from __future__ import annotations

import json
import re
import unicodedata
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


# Tables as programs and people write them

TABLE = [
    ["image", "mask", "output", "alpha", "iterations"],
    ["a/1.jpg", "m.png", "ä.png", "1.5", ""],
    ["a/2.jpg", "m.png", "", "", "60"],
]


def text(delimiter: str = ",", end: str = "\n", rows: list[list[str]] = TABLE) -> str:
    return "".join(delimiter.join(row) + end for row in rows)


def with_column(heading: str, *cells: str) -> str:
    return text(rows=[[*row, cell] for row, cell in zip(TABLE, [heading, *cells], strict=True)])


TABLES = {
    "commas": text(),
    "semicolons": text(";"),
    "tabs": text("\t"),
    "spaces after commas": text(", "),
    "Excel's CSV UTF-8": text(";", "\r\n").encode("utf-8-sig"),
    "Excel's Unicode text": text("\t", "\r\n").encode("utf-16"),
    "UTF-16, big endian": b"\xfe\xff" + text(";").encode("utf-16-be"),
    "old line ends": text(";", "\r"),
    "sep": "sep=;\r\n" + text(";", "\r\n"),
    "sep is a tab": "SEP=\t\n" + text("\t"),
    "decimal commas": text(";").replace("1.5", "1,5"),
    "decimal commas and tabs": text("\t").replace("1.5", "1,5"),
    "empty rows": "\n,,,,\n" + text() + ',,,,\n  ,\n\n"","",,,\n',
    "empty columns": text(";", ";;;\n") + ";;;;;;;\n",
    "capitals and spaces": text().replace("image,mask", " Image ,MASK"),
    "quotes": text().replace("image,mask", '"image","mask"'),
    "notes": with_column("Notes", "red; torn", "").replace("red; torn", '"red; torn, ""old"""'),
    "comment": with_column("comment", "iteratons", "image;mask"),
    "a column without name": with_column("", "", " "),
}


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("suffix", [".csv", ".txt", ".TSV"])
def test_tables_as_programs_write_them(folder: Path, content: str | bytes, suffix: str) -> None:
    pairing = read(folder, f"list{suffix}", content)
    assert pairing.problems == []
    assert [item.name for item in pairing.items] == ["a/2.jpg", "ä.png"]
    assert [item.config for item in pairing.items] == [
        InpaintConfig(beta=0.5, iterations=60),
        InpaintConfig(beta=0.5, alpha=1.5),
    ]


def test_names_of_options_may_be_written_as_on_the_command_line(folder: Path) -> None:
    pairing = read(folder, "list.csv", "image;mask;Mask-Dilate;fine side;content_weight\na/1.jpg;m.png;3;256;5, 2.5\n")
    assert pairing.problems == []
    assert pairing.items[0].config == InpaintConfig(beta=0.5, mask_dilate=3, fine_side=256, content_weight=(5, 2.5))


def test_notes_in_jsonl_and_utf16(folder: Path) -> None:
    row = {"image": "a/1.jpg", "mask": "m.png", "notes": ["wet", 3], "seed": 4}
    pairing = read(folder, "list.jsonl", json.dumps(row).encode("utf-16"))
    assert pairing.problems == []
    assert pairing.items[0].config.seed == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("photo,mask\na/1.jpg,m.png\n", "image is missing in its first row, which names photo, mask."),
        ("image;masks\na/1.jpg;m.png\n", "mask is missing in its first row, which names image, masks."),
        ("a/1.jpg;m.png\na/2.jpg;m.png\n", "image and mask are missing in its first row, which names a/1.jpg, m.png."),
        ("image|mask\na/1.jpg|m.png\n", "image and mask are missing"),
        ("image,mask,iteratons\na/1.jpg,m.png,\n", "has a column 'iteratons', which is not known; did you mean itera"),
        ("image;mask;Qualität\na/1.jpg;m.png;90\n", "column 'qualität', which is not known; did you mean quality?"),
        ("image\tmask\twho\na/1.jpg\tm.png\tI\n", "column 'who', which is not known; call a column of remarks notes."),
        ("image,mask,Image\na/1.jpg,m.png,a/2.jpg\n", "has the column image twice."),
        (
            "image;mask;content-weight\na/1.jpg;m.png;2,5\n",
            "line 2: content_weight must be 2.5, or 2, 5 for two scales",
        ),
        (",image,mask\n0,a/1.jpg,m.png\n", "line 2: .* row of named values: '0' is in a column without a name"),
        ("image;mask\na/1.jpg;m.png;x\n", "line 2: .* row of named values: 'x' is in a column without a name"),
        ("image;mask;alpha\n\n;;\na/1.jpg;m.png;a,5\n", "line 4: alpha must be a number of at least 0, not 'a,5'"),
        ("image;mask\nä.jpg;m.png\n".encode("cp1252"), "is not a table in UTF-8 or UTF-16"),
        (text().encode("utf-16-le"), "are missing|is not a table"),
        (";;;\n\n", "has no rows"),
        ("image;mask\n;;\n", "has no rows"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(folder: Path, content: str | bytes, said: str) -> None:
    try:
        sentences = read(folder, "list.csv", content).problems
    except ConfigError as error:
        sentences = [str(error)]
    assert len(sentences) == 1
    assert "\n" not in sentences[0]
    assert re.search(said, sentences[0])


# Unicode forms

COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")


@pytest.mark.parametrize("name", ["é.jpg", "é/1.jpg", "Ångström가.jpg"])
def test_a_file_of_another_unicode_form(folder: Path, name: str) -> None:
    there, said = folder / unicodedata.normalize("NFD", name), unicodedata.normalize("NFC", name)
    there.parent.mkdir(exist_ok=True)
    there.touch()
    pairing = read(folder, "list.csv", f"image,mask\n{said},m.png\n")
    assert pairing.items == []
    assert pairing.problems == [
        f"{folder}/list.csv, line 2: There is no file {folder / said}; "
        f"the name of {there} differs from it in its Unicode form alone."
    ]


def test_outputs_of_one_name_in_two_unicode_forms(folder: Path) -> None:
    rows = f"a/1.jpg;m.png;{COMPOSED}.png\na/2.jpg;m.png;{DECOMPOSED}.png\na/2.jpg;m.png;e.png\n"
    pairing = read(folder, "list.csv", "image;mask;output\n" + rows)
    assert {item.name for item in pairing.items} == {"e.png", f"{DECOMPOSED}.png"}
    assert pairing.problems == [
        f"The names of {folder}/out/{DECOMPOSED}.png and {folder}/out/{COMPOSED}.png differ in their Unicode form "
        "alone; rename one."
    ]
