"""Photographs come from folders and tars, and those that cannot be used are left out and named."""

from __future__ import annotations

import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neuralpatch_cuda.errors import DataError
from neuralpatch_cuda.training.data import HoleDataset, PhotoSource, ValidationDataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    for i, size in enumerate([(70, 90), (64, 64), (64, 200)]):
        picture = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))
        picture.save(tmp_path / "photos" / ("inner" if i else ".") / f"{i}.png")
    (tmp_path / "photos" / "notes.txt").write_text("not a picture")
    return tmp_path / "photos"


def pack(folder: Path) -> Path:
    path = folder.parent / "photos.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder, "photos")
    return path


def test_a_tar_and_its_folder_hold_the_same_photographs(folder: Path) -> None:
    from_folder, from_tar = PhotoSource([folder], 64), PhotoSource([pack(folder)], 64)
    assert len(from_folder) == len(from_tar) == 3
    pictures = [sorted(np.asarray(s.load(i)).tobytes() for i in range(3)) for s in (from_folder, from_tar)]
    assert pictures[0] == pictures[1]


def test_single_files(folder: Path) -> None:
    source = PhotoSource([folder / "0.png", folder / "inner" / "2.png"], 64)
    assert [source.load(i).size for i in range(2)] == [(90, 70), (200, 64)]


def test_a_limit(folder: Path) -> None:
    assert len(PhotoSource([folder], 64, limit=2)) == 2


def test_samples_have_the_promised_shapes(folder: Path) -> None:
    dataset = HoleDataset(PhotoSource([folder], 64), 64)
    for image, mask in (dataset[i] for i in range(len(dataset))):
        assert image.shape == (3, 64, 64) and image.min() >= 0 and image.max() <= 1
        assert mask.shape == (1, 64, 64) and set(mask.unique().tolist()) == {0.0, 1.0}


def test_samples_are_drawn_from_seed_epoch_and_index(folder: Path) -> None:
    first, again = (HoleDataset(PhotoSource([folder], 64), 64, seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    again.epoch = 1
    assert not torch.equal(first[0][1], again[0][1])


def test_crops_are_mirrored_and_moved(folder: Path) -> None:
    dataset = HoleDataset(PhotoSource([folder], 64), 64)
    original = torch.from_numpy(np.array(dataset.source.load(0))).permute(2, 0, 1) / 255
    found = set()
    for dataset.epoch in range(40):
        image = dataset[0][0]
        for mirrored in (False, True):
            straight = image.flip(-1) if mirrored else image
            for top in range(7):
                for left in range(27):
                    if torch.equal(straight, original[:, top : top + 64, left : left + 64]):
                        found.add((mirrored, top, left))
    assert {mirrored for mirrored, _, _ in found} == {False, True}
    assert len(found) > 20  # of the 40, which may coincide


def test_a_large_photograph_is_shrunk_until_a_crop_shows_a_scene(tmp_path: Path) -> None:
    picture = np.zeros((600, 900, 3), np.uint8)
    picture[:, 450:] = 255
    Image.fromarray(picture).save(tmp_path / "half.png")
    dataset = HoleDataset(PhotoSource([tmp_path], 64), 64)
    means = set()
    for dataset.epoch in range(20):
        image, _ = dataset[0]
        assert image.shape == (3, 64, 64)
        means.add(round(image.mean().item(), 2))
    assert len(means) > 5  # a crop of 64 of 600 px would be all black or all white nearly always
    image, _ = ValidationDataset(dataset.source, 64, "centre")[0]
    assert image.mean().item() == pytest.approx(0.5, abs=0.02)


def test_validation_is_the_centre_and_always_the_same(folder: Path) -> None:
    source = PhotoSource([folder], 64)
    image, mask = ValidationDataset(source, 64, "centre")[0]
    original = torch.from_numpy(np.array(source.load(0))).permute(2, 0, 1) / 255
    torch.testing.assert_close(image, original[:, 3:67, 13:77])
    assert mask[0, 16:48, 16:48].all() and mask.sum() == 32 * 32
    first, again = (ValidationDataset(source, 64, "thick")[1][1] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, ValidationDataset(source, 64, "thick")[2][1])


def test_what_cannot_be_used_is_counted_and_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "broken.jpg").write_bytes(b"no picture at all")
    Image.new("RGB", (63, 400)).save(folder / "narrow.png")
    for source in (folder, pack(folder)):
        caplog.clear()
        assert len(PhotoSource([source], 64)) == 3
        unreadable, small = (record.getMessage() for record in caplog.records)
        assert "1 images cannot be read and are left out" in unreadable and "broken.jpg" in unreadable
        assert "1 images are smaller than 64 px and are left out" in small and "narrow.png" in small


def test_a_photograph_that_turns_out_to_be_damaged_is_replaced(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:5000])
    source = PhotoSource([folder], 64)
    assert len(source) == 3
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(np.asarray(source.load(0)), np.asarray(source.load(1)))
    assert "0.png is damaged" in caplog.text


def test_no_photographs(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PhotoSource([tmp_path / "nowhere"], 64)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"^No images \(\.bmp, .*\) were found in .*empty\.$"):
        PhotoSource([tmp_path / "empty"], 64)
    with pytest.raises(DataError, match=r"notes\.txt is neither a folder nor an uncompressed tar file\.$"):
        PhotoSource([folder / "notes.txt"], 64)
    with pytest.raises(DataError, match=r"None of the 3 images in .*: 0 cannot be read, 3 have a short side of less"):
        PhotoSource([folder], 256)
    for path in folder.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="Every photograph is damaged"):
        PhotoSource([folder], 64).load(0)
