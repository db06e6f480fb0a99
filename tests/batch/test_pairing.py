from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from neuralpatch_cuda.batch.pairing import Pairing, Rules, pair_files, suffix_of
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError

CONFIG = InpaintConfig()

Form = Literal["NFC", "NFD"]


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names_of(pairing: Pairing, root: Path) -> list[tuple[str, str, str]]:
    """Of each item: photograph, mask and output."""
    return [(str(item.image.relative_to(root)), str(item.mask.relative_to(root)), item.name) for item in pairing.items]


def pair(root: Path, image: str, mask: str | None, **rules: object) -> Pairing:
    given = {"output": root / "out", "config": CONFIG} | rules
    return pair_files(str(root / image), mask and str(root / mask), Rules(**given))  # type: ignore[arg-type]


def test_masks_in_a_folder_have_the_photographs_paths(tmp_path: Path) -> None:
    make(tmp_path, "in/b/1.JPG", "in/a.tif", "in/notes.txt", "in/.hidden.png", "masks/b/1.png", "masks/a.png")
    pairing = pair(tmp_path, "in", "masks")
    assert names_of(pairing, tmp_path) == [
        ("in/a.tif", "masks/a.png", "a.tif"),
        ("in/b/1.JPG", "masks/b/1.png", "b/1.JPG"),
    ]
    assert pairing.problems == []
    assert pairing.items[1].output == tmp_path / "out/b/1.JPG"


def test_one_mask_for_all(tmp_path: Path) -> None:
    make(tmp_path, "in/1.png", "in/2.png", "in/scratch.png")
    pairing = pair(tmp_path, "in", "in/scratch.png")
    assert [name for *_, name in names_of(pairing, tmp_path)] == ["1.png", "2.png"]
    assert {item.mask for item in pairing.items} == {tmp_path / "in/scratch.png"}
    assert pairing.problems == []


def test_numbered_masks_in_one_tree_make_an_output_each(tmp_path: Path) -> None:
    make(tmp_path, "in/x/1.jpg", "in/x/1_mask001.png", "in/x/1_mask002.png", "in/2.v1.png", "in/2.v1_mask.png")
    pairing = pair(tmp_path, "in", None)
    assert names_of(pairing, tmp_path) == [
        ("in/2.v1.png", "in/2.v1_mask.png", "2.v1.png"),
        ("in/x/1.jpg", "in/x/1_mask001.png", "x/1_mask001.jpg"),
        ("in/x/1.jpg", "in/x/1_mask002.png", "x/1_mask002.jpg"),
    ]
    assert pairing.problems == []


def test_numbered_masks_in_a_folder_of_their_own(tmp_path: Path) -> None:
    make(tmp_path, "in/1.jpg", "masks/1_mask000.png")
    assert names_of(pair(tmp_path, "in", "masks"), tmp_path) == [("in/1.jpg", "masks/1_mask000.png", "1_mask000.jpg")]


def test_the_same_stem_goes_before_numbered_masks(tmp_path: Path) -> None:
    make(tmp_path, "in/1.jpg", "masks/1.png", "masks/1_mask.png")
    pairing = pair(tmp_path, "in", "masks")
    assert names_of(pairing, tmp_path) == [("in/1.jpg", "masks/1.png", "1.jpg")]
    assert pairing.problems == [f"{tmp_path}/masks/1_mask.png has no photograph."]


def test_a_single_photograph(tmp_path: Path) -> None:
    make(tmp_path, "in/1.jpg", "in/1_mask.png", "in/2.jpg", "in/2_mask.png", "masks/1.png", "masks/2.png")
    assert names_of(pair(tmp_path, "in/1.jpg", None), tmp_path) == [("in/1.jpg", "in/1_mask.png", "1.jpg")]
    pairing = pair(tmp_path, "in/1.jpg", "masks")
    assert names_of(pairing, tmp_path) == [("in/1.jpg", "masks/1.png", "1.jpg")]
    assert pairing.problems == []


def test_a_pattern(tmp_path: Path) -> None:
    make(tmp_path, "in/a/1.jpg", "in/a/2.png", "in/b/1.jpg", "masks/a/1.png", "masks/b/1.png")
    pairing = pair(tmp_path, "in/**/*.jpg", "masks")
    assert [name for *_, name in names_of(pairing, tmp_path)] == ["a/1.jpg", "b/1.jpg"]
    assert pair(tmp_path, "in/*/9.jpg", "masks").problems[-1] == f"There is no image in {tmp_path}/in/*/9.jpg."


def test_brackets_in_a_folders_name_are_no_pattern(tmp_path: Path) -> None:
    make(tmp_path, "in [old]/1.jpg", "mask.png")
    assert len(pair(tmp_path, "in [old]", "mask.png").items) == 1
    assert len(pair(tmp_path, "in [old]/1.jpg", "mask.png").items) == 1


def test_what_does_not_match_is_listed(tmp_path: Path) -> None:
    make(tmp_path, "in/1.jpg", "in/2.jpg", "masks/2.png", "masks/2.bmp", "masks/3.png")
    pairing = pair(tmp_path, "in", "masks")
    assert pairing.problems == [
        f"{tmp_path}/in/1.jpg has no mask.",
        f"{tmp_path}/in/2.jpg has two masks of one name: {tmp_path}/masks/2.bmp and {tmp_path}/masks/2.png.",
        f"{tmp_path}/masks/2.png has no photograph.",
        f"{tmp_path}/masks/3.png has no photograph.",
    ]


def test_formats(tmp_path: Path) -> None:
    make(tmp_path, "in/1.gif", "in/2.jpg", "mask.png")
    assert [item.name for item in pair(tmp_path, "in", "mask.png").items] == ["1.png", "2.jpg"]
    assert [item.name for item in pair(tmp_path, "in", "mask.png", suffix=".webp").items] == ["1.webp", "2.webp"]
    assert suffix_of("PNG") == suffix_of(".png") == ".png"
    with pytest.raises(ConfigError, match="The format must be one of png, jpg"):
        suffix_of("gif")


def test_two_photographs_with_one_output(tmp_path: Path) -> None:
    make(tmp_path, "in/1.jpg", "in/1.tif", "mask.png")
    pairing = pair(tmp_path, "in", "mask.png", suffix=".png")
    assert len(pairing.items) == 1
    assert pairing.problems == [
        f"{tmp_path}/in/1.jpg and {tmp_path}/in/1.tif would both be written to {tmp_path}/out/1.png."
    ]


@pytest.mark.parametrize("output", ["in", "masks", "linked"])
def test_no_output_replaces_an_input(tmp_path: Path, output: str) -> None:
    make(tmp_path, "in/1.png", "masks/1.png")
    (tmp_path / "linked").symlink_to("in", target_is_directory=True)
    pairing = pair(tmp_path, "in", "masks", output=tmp_path / output)
    assert pairing.items == []
    assert "would replace a photograph or a mask" in pairing.problems[-1]


def test_a_hard_link_to_an_input_is_no_output(tmp_path: Path) -> None:
    make(tmp_path, "in/1.png", "mask.png", "out/x")
    os.link(tmp_path / "in/1.png", tmp_path / "out/1.png")
    assert pair(tmp_path, "in", "mask.png").items == []


def test_outputs_among_the_photographs_are_not_filled_again(tmp_path: Path) -> None:
    make(tmp_path, "in/1.png", "in/out/1.png", "mask.png")
    for image in ("in", "in/**/*.png"):
        pairing = pair(tmp_path, image, "mask.png", output=tmp_path / "in/out")
        assert [item.image for item in pairing.items] == [tmp_path / "in/1.png"]
        assert pairing.problems == []


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    make(tmp_path, "in/1.png", "secret/2.png", "mask.png")
    (tmp_path / "in/2.png").symlink_to(tmp_path / "secret/2.png")
    (tmp_path / "in/more").symlink_to(tmp_path / "secret", target_is_directory=True)
    (tmp_path / "in/3.png").symlink_to("1.png")
    (tmp_path / "in/4.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "in/5.png")
    pairing = pair(tmp_path, "in", "mask.png")
    assert [item.name for item in pairing.items] == ["1.png", "3.png"]
    assert pairing.problems == [
        f"{tmp_path}/in/more is a link that leads out of {tmp_path}/in.",
        f"{tmp_path}/in/2.png is a link that leads out of {tmp_path}/in.",
        f"{tmp_path}/in/4.png is not a file.",
        f"{tmp_path}/in/5.png is not a file.",
    ]


def test_nothing_there(tmp_path: Path) -> None:
    make(tmp_path, "mask.png", "empty/x.txt")
    with pytest.raises(ConfigError, match=r"There is no file or folder .*/nowhere\."):
        pair(tmp_path, "nowhere", "mask.png")
    with pytest.raises(ConfigError, match=r"There is no file or folder .*/nomask\.png"):
        pair(tmp_path, "empty", "nomask.png")
    assert pair(tmp_path, "empty", "mask.png").problems == [f"There is no image in {tmp_path}/empty."]


@pytest.mark.parametrize(
    ("photograph", "mask", "masks"),
    [
        ("in/é.jpg", "masks/é.png", "masks"),
        ("in/é.jpg", "masks/é_mask.png", "masks"),
        ("in/é/1.jpg", "masks/é/1.png", "masks"),
        ("in/é.jpg", "in/é_mask002.png", None),
        ("in/가.jpg", "masks/가.png", "masks"),
    ],
)
@pytest.mark.parametrize(("one", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_that_differ_in_their_unicode_form_alone(
    tmp_path: Path, photograph: str, mask: str, masks: str | None, one: Form, other: Form
) -> None:
    photograph, mask = unicodedata.normalize(one, photograph), unicodedata.normalize(other, mask)
    make(tmp_path, photograph, mask)
    pairing = pair(tmp_path, "in", masks)
    assert pairing.items == []
    assert pairing.problems[0] == (
        f"{tmp_path / photograph} has no mask; the name of {tmp_path / mask} differs from it in its Unicode form alone."
    )
    both = unicodedata.normalize(other, photograph)
    (tmp_path / both).parent.mkdir(exist_ok=True)
    (tmp_path / photograph).rename(tmp_path / both)
    assert pair(tmp_path, "in", masks).problems == []


def test_photographs_of_one_name_in_two_unicode_forms(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    make(tmp_path, *(f"in/{name}" for name in names), "m.png")
    pairing = pair(tmp_path, "in", "m.png")
    assert len(pairing.items) == 1
    assert "differ in their Unicode form alone; rename one." in pairing.problems[0]
