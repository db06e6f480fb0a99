import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neuralpatch_cuda.errors import DataError
from neuralpatch_cuda.training.data import HoleDataset, PhotoSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    for i, size in enumerate([(70, 90), (64, 64), (40, 200)]):
        picture = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))
        picture.save(tmp_path / "photos" / ("inner" if i else ".") / f"{i}.png")
    (tmp_path / "photos" / "notes.txt").write_text("not a picture")
    return tmp_path / "photos"


def test_a_tar_and_its_folder_hold_the_same_photographs(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(folder, "photos")
    from_folder, from_tar = PhotoSource([folder]), PhotoSource([tmp_path / "photos.tar"])
    assert len(from_folder) == len(from_tar) == 3
    pictures = [sorted(np.asarray(s.load(i)).tobytes() for i in range(3)) for s in (from_folder, from_tar)]
    assert pictures[0] == pictures[1]


def test_samples_have_the_promised_shapes_and_small_photographs_are_enlarged(folder: Path) -> None:
    for image, mask in HoleDataset(PhotoSource([folder]), 64, train=True):
        assert image.shape == (3, 64, 64) and image.min() >= 0 and image.max() <= 1
        assert mask.shape == (1, 64, 64) and set(mask.unique().tolist()) == {0.0, 1.0}


def test_samples_are_drawn_from_seed_epoch_and_index(folder: Path) -> None:
    first, again = (HoleDataset(PhotoSource([folder]), 64, train=True, seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    again.epoch = 1
    assert not torch.equal(first[0][1], again[0][1])


def test_validation_is_the_centre(folder: Path) -> None:
    source = PhotoSource([folder])
    image, mask = HoleDataset(source, 64, train=False)[0]
    original = torch.from_numpy(np.array(source.load(0))).permute(2, 0, 1) / 255
    torch.testing.assert_close(image, original[:, 3:67, 13:77])
    assert mask[0, 16:48, 16:48].all() and mask.sum() == 32 * 32


def test_bad_data(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PhotoSource([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        PhotoSource([tmp_path / "empty"])
    with pytest.raises(DataError, match="tar"):
        PhotoSource([folder / "notes.txt"])
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:100])
    with pytest.raises(DataError, match="cannot decode"):
        PhotoSource([folder]).load(0)
