from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from neuralpatch_cuda.errors import ImageError
from neuralpatch_cuda.imaging.images import (
    COLOUR_MODES,
    NATIVE_MODES,
    composite,
    cut,
    paste,
    size_of,
    to_rgb,
    upright,
    working_copy,
)
from neuralpatch_cuda.synthesis.boxes import Box

HEIGHT, WIDTH = 20, 30
HOLE = (slice(4, 9), slice(10, 17))
IN_HOLE = (slice(None), *HOLE)  # of [C, H, W]


def weights(feathered: bool = False) -> torch.Tensor:
    weight = torch.zeros(HEIGHT, WIDTH)
    weight[HOLE] = 1
    if feathered:
        weight[4:9, 17] = 0.5
    return weight


def photo(dtype: Any = np.uint8, channels: int = 3) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(channels)
    if np.dtype(dtype).kind == "u":
        return random.integers(0, np.iinfo(dtype).max, (HEIGHT, WIDTH, channels), dtype, endpoint=True)
    return random.random((HEIGHT, WIDTH, channels)).astype(dtype)


def pil(mode: str) -> Image.Image:
    rgb = Image.fromarray(photo())
    if mode.startswith("I;16"):
        pixels = photo(np.uint16, 1).astype(">u2" if mode == "I;16B" else "<u2")
        return Image.frombytes(mode, (WIDTH, HEIGHT), pixels.tobytes())
    if mode == "F":
        return Image.fromarray(photo(np.float32, 1)[..., 0])
    if mode in ("LA", "RGBA", "PA"):
        image = rgb.convert("P").convert("PA") if mode == "PA" else rgb.convert(mode)
        image.putalpha(Image.fromarray(photo(np.uint8, 1)[..., 0]))
        return image
    return rgb.convert(mode)


# What each mode comes back as; 1 and the palettes cannot hold new colours.
MODES = {mode: mode for mode in ("L", "LA", "RGB", "RGBA", "RGBX", "I;16", "I;16B", "F", "CMYK", "YCbCr", "HSV")}
MODES |= {"1": "RGB", "P": "RGB", "PA": "RGBA"}


@pytest.mark.parametrize("mode", MODES)
def test_pil_round_trip(mode: str) -> None:
    image = pil(mode)
    before = image.tobytes()
    expected = np.asarray(upright(image))
    rgb = to_rgb(image)
    assert rgb.shape == (3, HEIGHT, WIDTH)
    assert rgb.dtype == torch.float32
    assert 0 <= rgb.min() < 0.1
    assert 0.9 < rgb.max() <= 1

    out = composite(image, torch.full_like(rgb, 0.25), weights())
    assert out.mode == MODES[mode]
    assert out.size == image.size
    assert image.tobytes() == before
    pixels = np.asarray(out)
    assert pixels.dtype == expected.dtype
    outside = weights().numpy() == 0
    assert (pixels[outside] == expected[outside]).all()
    # Inside is what was put there, as the mode can express it.
    assert (to_rgb(out)[IN_HOLE] - 0.25).abs().max() < 0.01


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_pil_alpha_is_passed_through(mode: str) -> None:
    image = pil(mode)
    out = composite(image, torch.rand(3, HEIGHT, WIDTH), weights())
    assert out.getchannel("A").tobytes() == photo(np.uint8, 1).tobytes()


def test_a_palette_with_transparency_becomes_rgba() -> None:
    image = pil("P")
    image.info["transparency"] = 0
    out = composite(image, torch.rand(3, HEIGHT, WIDTH), weights())
    assert out.mode == "RGBA"
    assert (np.asarray(out)[..., 3] == np.where(np.asarray(image) == 0, 0, 255)).all()


def test_orientation_is_applied_and_reset_and_metadata_are_kept() -> None:
    image = pil("RGB")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # rotate 90 degrees clockwise to see it upright
    exif[ExifTags.Base.Make] = "Maker"
    image.info |= {"exif": exif.tobytes(), "icc_profile": b"profile", "dpi": (72, 72)}
    rgb = to_rgb(image)
    assert rgb.shape == (3, WIDTH, HEIGHT)
    out = composite(image, rgb, torch.zeros(WIDTH, HEIGHT))
    assert (np.asarray(out) == np.rot90(np.asarray(image), -1)).all()
    assert ExifTags.Base.Orientation not in out.getexif()
    assert out.getexif()[ExifTags.Base.Make] == "Maker"
    assert (out.info["icc_profile"], out.info["dpi"]) == (b"profile", (72, 72))
    assert image.getexif()[ExifTags.Base.Orientation] == 6


NUMPY = [
    (dtype, shape)
    for dtype in ("uint8", "uint16", ">u2", "float32", "float64")
    for shape in ("HW", "HW1", "HW2", "HW3", "HW4")
]


@pytest.mark.parametrize(("dtype", "shape"), NUMPY)
def test_numpy_round_trip(dtype: str, shape: str) -> None:
    channels = int(shape[2:] or 1)
    image = photo(np.dtype(dtype).newbyteorder("="), channels).astype(dtype)
    image = image[..., 0] if shape == "HW" else image
    before = image.copy()
    rgb = to_rgb(image)
    scale = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    planes = (before.reshape(HEIGHT, WIDTH, -1) / scale).transpose(2, 0, 1)
    colours = planes[:3] if channels >= 3 else planes[[0, 0, 0]]
    np.testing.assert_allclose(rgb.numpy(), colours, atol=1e-6)

    filled = torch.rand(3, HEIGHT, WIDTH)
    out = composite(image, filled, weights())
    assert isinstance(out, np.ndarray)
    assert (out.dtype, out.shape) == (before.dtype, before.shape)
    assert (image == before).all()
    changed = out != before
    outside = weights().numpy() == 0
    assert not changed[outside].any()
    got = (out.reshape(HEIGHT, WIDTH, -1)[HOLE] / scale).transpose(2, 0, 1)
    want = filled[IN_HOLE].numpy()
    luma = 0.299 * want[:1] + 0.587 * want[1:2] + 0.114 * want[2:]
    colours, alpha = (got[:3], got[3:]) if channels >= 3 else (got[:1], got[1:])
    np.testing.assert_allclose(colours, want if channels >= 3 else luma, atol=0.5001 / scale if scale > 1 else 1e-6)
    assert (alpha == planes[IN_HOLE][-len(alpha) :]).all() if len(alpha) else True


@pytest.mark.parametrize("view", ["transposed", "reversed", "strided", "read-only"])
def test_numpy_views(view: str) -> None:
    image = {
        "transposed": photo().transpose(1, 0, 2).copy().transpose(1, 0, 2),
        "reversed": photo()[::-1, :, ::-1],
        "strided": np.repeat(photo(), 2, axis=1)[:, ::2],
        "read-only": photo(),
    }[view]
    image.flags.writeable = view != "read-only"
    before = image.copy()
    np.testing.assert_allclose(to_rgb(image).numpy(), before.transpose(2, 0, 1) / 255, atol=1e-6)
    out = composite(image, torch.full((3, HEIGHT, WIDTH), 0.2), weights())
    assert (out[HOLE] == 51).all()
    assert (image == before).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_round_trip(dtype: torch.dtype, channels: int) -> None:
    values = torch.from_numpy(photo(np.uint8, channels)).permute(2, 0, 1)
    image = values if dtype == torch.uint8 else (values / 255).to(dtype)
    before = image.clone()
    rgb = to_rgb(image)
    scale = 255 if dtype == torch.uint8 else 1
    torch.testing.assert_close(rgb[0], before[0].float() / scale)

    filled = torch.full((3, HEIGHT, WIDTH), 0.2)
    out = composite(image, filled, weights())
    assert (out.dtype, out.shape, out.device) == (before.dtype, before.shape, before.device)
    assert torch.equal(image, before)
    outside = weights() == 0
    assert torch.equal(out[:, outside], before[:, outside])
    colours = 1 if channels < 3 else 3
    want = torch.tensor(51 if dtype == torch.uint8 else 0.2).to(dtype)
    torch.testing.assert_close(out[IN_HOLE][:colours], want.expand(colours, 5, 7))
    assert torch.equal(out[colours:], before[colours:])


def test_torch_channels_last_and_gradient() -> None:
    image = torch.rand(1, 3, HEIGHT, WIDTH).to(memory_format=torch.channels_last)[0].requires_grad_()
    out = composite(image, torch.full((3, HEIGHT, WIDTH), 0.5), weights())
    assert not to_rgb(image).requires_grad
    assert not out.requires_grad
    assert (out[IN_HOLE] == 0.5).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_torch_device() -> None:
    image = torch.rand(3, HEIGHT, WIDTH, device="cuda")
    assert to_rgb(image).is_cuda
    assert composite(image, torch.rand(3, HEIGHT, WIDTH), weights()).is_cuda
    assert not composite(image.cpu(), to_rgb(image), weights()).is_cuda


def test_to_rgb_is_a_copy() -> None:
    image = torch.rand(3, HEIGHT, WIDTH)
    before = image.clone()
    to_rgb(image).zero_()
    assert torch.equal(image, before)


def test_feathered_pixels_are_mixed() -> None:
    image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    out = composite(image, torch.full((3, HEIGHT, WIDTH), 200 / 255), weights(feathered=True))
    assert (out[HOLE] == 200).all()
    assert (out[4:9, 17] == 150).all()
    assert (out[4:9, 18:] == 100).all()


def test_filled_values_are_clamped() -> None:
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    out = composite(image, torch.full((3, HEIGHT, WIDTH), 1.2), weights())
    assert (out[HOLE] == 255).all()


def with_value(value: float) -> np.ndarray[Any, Any]:
    image = photo(np.float32)
    image[3, 3, 1] = value
    return image


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (with_value(np.nan), ImageError, "NaN or infinite"),
        (with_value(np.inf), ImageError, "NaN or infinite"),
        (with_value(255), ImageError, r"must be in \[0, 1\], but this one has values from .* to 255"),
        (with_value(-0.1), ImageError, "values from -0.1 to"),
        (torch.from_numpy(with_value(np.nan)).permute(2, 0, 1), ImageError, "NaN or infinite"),
        (photo().astype(np.int32), TypeError, "must be uint8, uint16, or float32 or float64 .* not int32"),
        (photo().astype(bool), TypeError, "not bool"),
        (photo().astype(np.float16), TypeError, "not float16"),
        (photo().astype(complex), TypeError, "not complex128"),
        (
            torch.zeros(3, 20, 30, dtype=torch.int64),
            TypeError,
            "must be uint8 or floating point .* not torch.int64",
        ),
        ("photo.png", TypeError, "PIL image, a numpy array or a torch tensor, not str"),
        (None, TypeError, "not NoneType"),
        (photo(channels=5), ImageError, r"\[H, W\] or \[H, W, C\] with 1 .* not \[20, 30, 5\]"),
        (photo().transpose(2, 0, 1), ImageError, r"not \[3, 20, 30\]"),
        (torch.zeros(20, 30, 3), ImageError, r"\[C, H, W\] with 1 .* not \[20, 30, 3\]"),
        (torch.zeros(1, 3, 20, 30), ImageError, r"not \[1, 3, 20, 30\]"),
        (torch.zeros(20, 30), ImageError, r"not \[20, 30\]"),
        (np.ones(()), ImageError, r"not \[\]"),
        (np.zeros((0, 30, 3), np.uint8), ImageError, r"is empty: its shape is \[0, 30, 3\]"),
        (torch.zeros(3, 20, 0), ImageError, r"is empty: its shape is \[3, 20, 0\]"),
        (Image.new("LAB", (30, 20)), ImageError, "PIL mode LAB cannot be filled; convert it to one of L, "),
        (Image.new("I", (30, 20)), ImageError, "PIL mode I cannot be filled"),
        (Image.new("RGB", (30, 11)), ImageError, "is 30 x 11 px, but a single patch spans 12 px each way"),
    ],
)
def test_bad_images(image: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        to_rgb(image, smallest_side=12)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message


def test_a_rounding_error_is_not_out_of_range() -> None:
    rgb = to_rgb(with_value(1 + 1e-7))
    assert rgb.max() == 1


@pytest.mark.parametrize("mode", [*NATIVE_MODES, *COLOUR_MODES])
def test_a_part_is_cut_out_and_put_back(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, 20 * 30 * 4, dtype=np.uint8).tobytes()
    size = len(Image.new(mode, (30, 20)).tobytes())
    image = Image.frombytes(mode, (30, 20), pixels[:size])
    copy, box = working_copy(image), Box(3, 5, 17, 21)
    part = cut(copy, box)
    assert size_of(part) == (14, 16)
    paste(copy, Image.new(mode, part.size), box)
    assert copy.tobytes() != image.tobytes()
    paste(copy, part, box)
    assert copy.tobytes() == image.tobytes()


def test_a_working_copy_is_checked_first() -> None:
    for wrong in ("photo.png", None, [[1, 2], [3, 4]]):
        with pytest.raises(TypeError, match="must be a PIL image, a numpy array or a torch tensor"):
            working_copy(wrong)  # type: ignore[type-var]
