from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from neuralpatch_cuda.errors import MaskError
from neuralpatch_cuda.imaging.masks import feather_weight, to_hole, to_region

SIZE = (20, 30)
HOLE = np.zeros(SIZE, bool)
HOLE[4:9, 10:17] = True
WHITE = np.where(HOLE, 255, 0).astype(np.uint8)


def rgba(rgb: Any, alpha: Any) -> Image.Image:
    pixels = np.empty((*SIZE, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = np.asarray(rgb)[..., None], alpha
    return Image.fromarray(pixels)


PIL_MASKS = {
    mode: Image.fromarray(WHITE).convert(mode) for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I", "HSV")
}
PIL_MASKS |= {
    "I;16": Image.fromarray(WHITE.astype(np.uint16) * 257),
    "F": Image.fromarray(HOLE.astype(np.float32)),
    "white strokes on transparent black": rgba(WHITE, WHITE),
    "white strokes on transparent white": rgba(np.full(SIZE, 255), WHITE),
}


@pytest.mark.parametrize("name", PIL_MASKS)
def test_pil_masks(name: str) -> None:
    mask = PIL_MASKS[name]
    before = mask.tobytes()
    hole = to_hole(mask, SIZE)
    assert (hole.dtype, hole.device.type) == (torch.bool, "cpu")
    assert (hole.numpy() == HOLE).all()
    assert mask.tobytes() == before


@pytest.mark.parametrize(
    "mask",
    [
        HOLE,
        WHITE,
        HOLE.astype(np.uint8),
        HOLE.astype(np.int64),
        WHITE.astype(np.int64),
        WHITE.astype(np.uint16) * 257,
        HOLE.astype(np.float32),
        HOLE.astype(np.float64),
        WHITE[..., None],
        WHITE[::-1][::-1],
        torch.from_numpy(HOLE),
        torch.from_numpy(WHITE),
        torch.from_numpy(HOLE).long(),
        torch.from_numpy(HOLE).float(),
        torch.from_numpy(HOLE).bfloat16(),
        torch.from_numpy(HOLE)[None],
    ],
    ids=lambda mask: f"{type(mask).__name__}-{mask.dtype}-{mask.ndim}",
)
def test_arrays_and_tensors(mask: Any) -> None:
    before = mask.clone() if isinstance(mask, torch.Tensor) else mask.copy()
    hole = to_hole(mask, SIZE)
    assert (hole.numpy() == HOLE).all()
    hole.logical_not_()
    assert (mask == before).all()


@pytest.mark.parametrize(
    ("mode", "dtype", "top"),
    [("L", np.uint8, 255), ("I;16", np.uint16, 65535), ("I", np.int32, 255), ("F", np.float32, 1)],
)
def test_pictures_of_several_values_are_cut_at_half_of_the_range(mode: str, dtype: Any, top: float) -> None:
    half = 0.5 if dtype == np.float32 else (top + 1) // 2
    mask = np.zeros(SIZE, dtype)
    mask[HOLE], mask[5, 10], mask[12, 12] = half, top, half - (0.01 if top == 1 else 1)
    image = Image.fromarray(mask)
    assert image.mode == mode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (to_hole(image, SIZE).numpy() == HOLE).all()


def test_orientation() -> None:
    mask = Image.fromarray(np.rot90(WHITE))  # a quarter turn back
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    mask.info["exif"] = exif.tobytes()
    assert (to_hole(mask, SIZE).numpy() == HOLE).all()


def test_invert() -> None:
    assert (to_hole(255 - WHITE, SIZE, invert=True).numpy() == HOLE).all()


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_dilation_is_by_a_disc_after_the_inversion(radius: int) -> None:
    mask = np.zeros(SIZE, bool)
    mask[7, 3] = mask[12, 22] = True
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    expected = ((y - 7) ** 2 + (x - 3) ** 2 <= radius**2) | ((y - 12) ** 2 + (x - 22) ** 2 <= radius**2)
    assert (to_hole(mask, SIZE, dilate=radius).numpy() == expected).all()
    assert (to_hole(~mask, SIZE, invert=True, dilate=radius).numpy() == expected).all()


@pytest.mark.parametrize("feather", [1, 3, 8])
def test_feather(feather: int) -> None:
    weight = feather_weight(torch.from_numpy(HOLE), feather).numpy()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    rows, columns = np.nonzero(HOLE)
    distance = np.hypot(y[..., None] - rows[0 : len(rows)], x[..., None] - columns).min(-1)
    assert weight.dtype == np.float32
    assert (weight[HOLE] == 1).all()
    assert (weight[distance > feather] == 0).all()
    band = (distance > 0) & (distance <= feather)
    np.testing.assert_allclose(weight[band], 0.5 + 0.5 * np.cos(math.pi * distance[band] / (feather + 1)), atol=1e-6)
    assert ((weight[band] > 0) & (weight[band] < 1)).all()


def test_no_feather() -> None:
    weight = feather_weight(torch.from_numpy(HOLE), 0)
    assert torch.equal(weight, torch.from_numpy(HOLE).float())


@pytest.mark.parametrize(
    ("mask", "options", "words"),
    [
        (np.ones((30, 20), bool), {}, r"mask is 20 x 30 px but the image is 30 x 20 px"),
        (Image.new("L", (31, 20)), {}, r"mask is 31 x 20 px but the image is 30 x 20 px"),
        (torch.zeros(0, 0), {}, "mask is 0 x 0 px"),
        (np.zeros(SIZE, bool), {}, "mask is empty: it marks nothing to fill; white means fill.$"),
        (np.full(SIZE, 127, np.uint8), {}, "covers the whole image: .* values go from 127 to 127, and only 0 counts"),
        (np.full(SIZE, 127, np.uint8), {"invert": True}, "mask is empty: .* inverted; its values go from 127 to 127"),
        (np.ones(SIZE, bool), {"invert": True}, "mask is empty: .* but it is inverted"),
        (np.ones(SIZE, bool), {}, "covers the whole image: nothing is left to copy from"),
        (np.zeros(SIZE, bool), {"invert": True}, "covers the whole image"),
        (HOLE, {"dilate": 40}, "grown by 40 px, covers the whole image"),
        (np.stack([WHITE] * 3, -1), {}, r"\[H, W\] or \[H, W, 1\], not \[20, 30, 3\]; pass one channel"),
        (torch.zeros(3, *SIZE), {}, r"\[H, W\] or \[1, H, W\], not \[3, 20, 30\]"),
        (torch.zeros(1, 1, *SIZE), {}, r"not \[1, 1, 20, 30\]"),
        (WHITE.astype(complex), {}, "bool, integer or floating point numbers, not complex128"),
        (np.full(SIZE, "x"), {}, "not <U1"),
        (np.where(HOLE, np.nan, 0), {}, "mask has NaN values"),
        (torch.from_numpy(np.where(HOLE, np.nan, 1)).half(), {}, "mask has NaN values"),
        (Image.fromarray(np.where(HOLE, np.nan, 0).astype(np.float32)), {}, "mask has NaN values"),
        (Image.new("RGBA", (30, 20)), {}, "mask is empty: it is transparent all over"),
        (Image.fromarray(np.arange(600, dtype=np.int32).reshape(SIZE) * 1000), {}, "values up to 599000"),
        (Image.new("LAB", (30, 20)), {}, "PIL mode LAB are not supported"),
    ],
)
def test_bad_masks(mask: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(MaskError, match=words) as caught:
        to_hole(mask, SIZE, **options)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message


def test_wrong_type() -> None:
    with pytest.raises(TypeError, match="PIL image, a numpy array or a torch tensor, not str"):
        to_hole("mask.png", SIZE)  # type: ignore[arg-type]


def test_a_mask_of_more_than_half_is_suspicious() -> None:
    with pytest.warns(UserWarning, match="covers 94% of the image"):
        to_hole(~HOLE, SIZE)
    half = np.zeros(SIZE, bool)
    half[:10] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_hole(half, SIZE)
        to_hole(~HOLE, SIZE, invert=True)


def test_resized_to_the_nearest_pixels() -> None:
    mask = np.zeros((4, 6), np.bool_)
    mask[1:3, 2:5] = True
    doubled = np.kron(mask, np.ones((2, 2), np.bool_))
    assert (to_hole(mask, (8, 12), resize=True).numpy() == doubled).all()
    assert (to_region(doubled, (4, 6), resize=True).numpy() == mask).all()
    for size in ((9, 13), (3, 5), (4, 7)):
        assert to_hole(mask, size, resize=True).shape == size
    with pytest.raises(MaskError, match="must be of the same size, or resize_mask be set"):
        to_hole(mask, (8, 11))
