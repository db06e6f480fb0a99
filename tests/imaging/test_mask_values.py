"""Masks of several values and colours: labels, soft edges, JPEG noise, palettes, strokes, transparency."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from neuralpatch_cuda import cli
from neuralpatch_cuda.errors import MaskError
from neuralpatch_cuda.imaging.files import Photograph, read_mask, write_image
from neuralpatch_cuda.imaging.masks import to_hole, to_region

SIZE = HEIGHT, WIDTH = 120, 160


def shapes(scale: int = 1) -> Image.Image:
    """An ellipse, a rectangle and a line, white on black."""
    image = Image.new("L", (WIDTH * scale, HEIGHT * scale))
    draw = ImageDraw.Draw(image)
    draw.ellipse([scale * side for side in (20, 15, 80, 60)], fill=255)
    draw.rectangle([scale * side for side in (100, 70, 140, 100)], fill=255)
    draw.line([scale * side for side in (10, 110, 150, 12)], fill=255, width=3 * scale)
    return image


MASK = np.asarray(shapes())
HOLE = MASK > 0
SMOOTH = shapes(4).resize((WIDTH, HEIGHT), Image.Resampling.BOX)
"""Antialiased."""
EDGY = np.asarray(SMOOTH)
Y, X = np.mgrid[:HEIGHT, :WIDTH]
NOISE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
PHOTOGRAPH = np.asarray(
    Image.fromarray(NOISE[::8, ::8]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)  # smooth colours
)


def with_alpha(colours: Any, alpha: Any) -> Image.Image:
    pixels = np.zeros((*SIZE, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = colours, alpha
    return Image.fromarray(pixels)


def two(inside: Any, outside: Any = 0, dtype: Any = np.uint8) -> np.ndarray:
    where = HOLE[..., None] if np.ndim(inside) else HOLE
    return np.where(where, inside, outside).astype(dtype)


def tiles(labels: int, gap: int, dtype: Any = np.int32) -> np.ndarray:
    """Rectangles with the labels from 1 on, in rows."""
    across = int(np.ceil(np.sqrt(labels)))
    side = 120 // across
    label = Y // side * across + X // side + 1
    inside = (Y % side >= gap) & (X % side >= gap) & (across * side > X) & (label <= labels)
    return np.where(inside, label, 0).astype(dtype)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def hole_of(mask: Any) -> np.ndarray:
    """The hole, without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return to_hole(mask, SIZE).numpy()


ARRAYS = {
    "0, 2": two(2),
    "0, 100": two(100),
    "uint16 0, 255": two(255, dtype=np.uint16),
    "0, 0.25": two(0.25, dtype=np.float64),
    "0, 1e-30": two(1e-30, dtype=np.float64),
    "0, -1": two(-1, dtype=np.int8),
    "0, inf": two(np.inf, dtype=np.float32),
    "big-endian": two(7, dtype=">i4"),
    "labels of components": ndimage.label(HOLE)[0],
    "labels of single pixels": ndimage.label(NOISE[..., 0] < 20)[0],
    "labels 1 to 5": tiles(5, 4),
    "labels 1 to 200": tiles(200, 2),
    "labels 1 to 255, uint8": tiles(255, 2, np.uint8),
    "labels above 255": tiles(400, 2) * 7,
    "labels 1 to 2500": tiles(2500, 1),
    "touching labels": np.where(HOLE, tiles(100, 0), 0),
    "float labels": tiles(30, 3, np.float32),
    "negative labels": -tiles(30, 3),
    "masked array of labels": np.ma.masked_equal(ndimage.label(HOLE)[0], 0),
    "masked array of bools": np.ma.masked_equal(HOLE, False),
    "masked array without a mask": np.ma.array(two(255)),
    "three bands": np.where(HOLE, 128, 0) + np.where(ndimage.binary_erosion(HOLE, iterations=3), 127, 0),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_of_an_array_what_is_not_0(name: str) -> None:
    mask = ARRAYS[name]
    hole = np.asarray(mask) != 0
    assert (hole_of(mask) == hole).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (to_region(mask, SIZE).numpy() == hole).all()
    assert (to_hole(~hole, SIZE, invert=True).numpy() == hole).all()


@pytest.mark.parametrize(
    "mask",
    [
        torch.from_numpy(tiles(200, 2)),
        torch.from_numpy(tiles(100, 3, np.float32)).bfloat16(),
        torch.from_numpy(two(2, dtype=np.int16))[None],
        torch.from_numpy(two(65535, dtype=np.uint16)),
        torch.from_numpy(two(1e-60, dtype=np.float64)),
    ],
    ids=lambda mask: str(mask.dtype),
)
def test_of_a_tensor_what_is_not_0(mask: torch.Tensor) -> None:
    assert (hole_of(mask) == (mask.double().numpy().reshape(SIZE) != 0)).all()


SOFT = {f"jpeg {quality}": np.asarray(jpeg(shapes(), quality)) for quality in (50, 75, 95)}
SOFT |= {
    "jpeg 20": np.where((noisy := np.asarray(jpeg(shapes(), 20))) < 3, 0, noisy),  # else it covers everything
    "jpeg, antialiased": np.asarray(jpeg(SMOOTH, 90)),
    "antialiased": EDGY,
    "antialiased, floats": EDGY / np.float32(255),
    "antialiased, 16 bits": EDGY.astype(np.uint16) * 257,
    "bilinear": np.asarray(shapes().resize((80, 60)).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)),
    "blurred": np.asarray(shapes().filter(ImageFilter.GaussianBlur(3))),
    "ramp": np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1)),
    "distances": ndimage.distance_transform_edt(HOLE),
    "probabilities": np.round(1 / (1 + np.exp(ndimage.gaussian_filter(np.where(HOLE, -9.0, 9.0), 2))), 3),
}


@pytest.mark.parametrize("name", SOFT)
def test_soft_arrays_are_warned_of(name: str) -> None:
    mask = SOFT[name]
    between = 100 * ((mask > 0) & (mask < mask.max())).mean()
    with pytest.warns(UserWarning, match="mask") as caught:
        assert (to_hole(mask, SIZE).numpy() == (mask != 0)).all()
    sentence = str(caught[0].message)
    assert f"the mask, {between:.3g}% of the pixels lie between 0 and {mask.max():g}," in sentence
    half = mask.max() / 2 if name == "distances" else {"u1": 127, "u2": 32767}.get(mask.dtype.str[1:], 0.5)
    assert sentence.endswith(f"threshold it, as in mask > {half:g}.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_hole(mask > half, SIZE)


def test_probabilities_that_are_nowhere_0() -> None:
    mask = torch.sigmoid(torch.from_numpy(np.where(HOLE, 4.0, -4.0) + PHOTOGRAPH[..., 0] / 255))
    with (
        pytest.warns(UserWarning, match=r"100% of the pixels .* threshold it, as in mask > 0\.5\.$"),
        pytest.raises(MaskError, match=r"covers the whole image: .*; its values go from 0\.0179.* to 0\.99"),
    ):
        to_hole(mask, SIZE)


def palette(colours: Any, indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(np.array(colours, np.uint8).tobytes())
    return image


VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128)]
VOC += [(64, 0, 0), (192, 0, 0)]
PARTS = np.where(HOLE, X // 20 % 3 + 1, 0)
"""1, 2 or 3 in the hole."""
STROKES = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 0)], np.uint8)[PARTS]

PICTURES = {f"{low}, {high}": Image.fromarray(two(high, low)) for low, high in [(0, 2), (0, 100), (0, 1), (0, 254)]}
PICTURES |= {f"{low}, {high}": Image.fromarray(two(high, low)) for low, high in [(64, 255), (30, 90), (200, 240)]}
PICTURES |= {
    "I;16 0, 255": Image.fromarray(two(255, dtype=np.uint16)),
    "I;16 0, 1": Image.fromarray(two(1, dtype=np.uint16)),
    "I 0, 3": Image.fromarray(two(3, dtype=np.int32)),
    "I 0, 100000": Image.fromarray(two(100000, dtype=np.int32)),
    "F 0, 0.1": Image.fromarray(two(0.1, dtype=np.float32)),
    "F 0, 255": Image.fromarray(two(255, dtype=np.float32)),
    "dark red": Image.fromarray(two((90, 0, 0))),
    "blue on gray": Image.fromarray(two((0, 0, 255), (40, 40, 40))),
    "red on blue": palette([(0, 0, 255), (255, 0, 0)], HOLE),
    "cyan on green": palette([(0, 255, 0), (0, 255, 255)], HOLE),
    "yellow on red": Image.fromarray(two((255, 255, 0), (255, 0, 0))),
    "palette of two colours": palette([(0, 0, 0), (0, 70, 0)], HOLE),
    "palette of two colours, neither black": palette([(20, 20, 90), (250, 120, 0)], HOLE),
    "red, green and yellow": Image.fromarray(STROKES),
    "dark colours": Image.fromarray(STROKES // 3),
    "strokes, quantised": Image.fromarray(STROKES).quantize(8),
    "strokes, HSV": Image.fromarray(STROKES).convert("HSV"),
    "strokes beyond half": Image.fromarray(STROKES // 4 * 3),
    "VOC's labels": palette(VOC, PARTS),
    "VOC's eighth label": palette(VOC, HOLE * 8),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("filed", [False, True], ids=["image", "file"])
def test_pictures(name: str, filed: bool, tmp_path: Path) -> None:
    mask = PICTURES[name]
    if filed:
        if mask.mode == "HSV":
            pytest.skip("no format has it")
        mask.save(tmp_path / "mask.tif")
        mask = read_mask(tmp_path / "mask.tif")
    assert (hole_of(mask) == HOLE).all()


@pytest.mark.parametrize("quality", [20, 50, 75, 95])
@pytest.mark.parametrize("kind", ["sharp", "antialiased", "coloured"])
def test_edges_of_jpeg_files_are_not_warned_of(quality: int, kind: str, tmp_path: Path) -> None:
    picture = {"sharp": shapes(), "antialiased": SMOOTH, "coloured": Image.fromarray(STROKES)}[kind]
    picture.save(tmp_path / "mask.jpg", quality=quality)
    expected = np.asarray(Image.open(tmp_path / "mask.jpg"))
    expected = (expected if expected.ndim == 2 else expected.max(-1)) >= 128
    assert (hole_of(read_mask(tmp_path / "mask.jpg")) == expected).all()
    assert (expected ^ HOLE).mean() < 0.02


@pytest.mark.parametrize(
    "mask",
    [
        SMOOTH,
        Image.fromarray(EDGY.astype(np.uint16)),  # 8 bits in 16
        Image.fromarray(EDGY.astype(np.uint16) * 257),
        Image.fromarray(EDGY / np.float32(255)),
        SMOOTH.convert("F"),
        SMOOTH.convert("RGB"),
        shapes(2).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR),
    ],
    ids=lambda mask: mask.mode,
)
def test_antialiased_edges_are_not_warned_of(mask: Image.Image) -> None:
    values = np.asarray(mask.convert("L") if mask.mode == "RGB" else mask)
    assert (hole_of(mask) == (values >= (0.5 if values.max() == 1 else 32768 if values.max() > 255 else 128))).all()


UNCLEAR = {
    "blurred": shapes().filter(ImageFilter.GaussianBlur(4)),
    "blurred a lot": shapes().filter(ImageFilter.GaussianBlur(12)),
    "ramp": Image.fromarray(np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))),
    "16-bit ramp": Image.fromarray(np.tile(np.linspace(0, 65535, WIDTH).astype(np.uint16), (HEIGHT, 1))),
    "probabilities": Image.fromarray(ndimage.gaussian_filter(two(1, dtype=np.float32), 5)),
    "photograph": Image.fromarray(PHOTOGRAPH),
    "labels up to 200": Image.fromarray(tiles(200, 2, np.uint8)),
    "VOC's first and eighth label": palette(VOC, np.where(HOLE, 1 + 7 * (X > 80), 0)),
    "labels and a void": Image.fromarray(two(255) + tiles(9, 3, np.uint8) * ~HOLE),
    "thin lines, one of them dark": Image.fromarray(np.select([Y == 20, Y == 90], [20, 200]).astype(np.uint8)),
    "wider lines, one of them bright": Image.fromarray((Y // 3 * np.isin(Y // 3, [7, 15, 39]) * 5).astype(np.uint8)),
    "dust, some of it dark": Image.fromarray(np.where((X % 16 == 5) & (Y % 16 == 5), 40 + X, 0).astype(np.uint8)),
    "a faint stroke": Image.fromarray(two(255) + (~HOLE & (Y > 112) & (Y < 115)) * np.uint8(80)),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_is_between_black_and_white_is_warned_of(name: str, tmp_path: Path) -> None:
    picture = UNCLEAR[name]
    values = np.asarray(picture.convert("RGB") if picture.mode in ("P", "RGB") else picture)
    values = values if values.ndim == 2 else values.max(-1)
    top = {"I;16": 65535, "F": 1}.get(picture.mode, 255)
    between = 100 * ((values > 0) & (values < top)).mean()
    picture.save(tmp_path / "mask.tif")
    for mask, of in ((picture, ""), (tmp_path / "mask.tif", f" {tmp_path / 'mask.tif'}")):
        with pytest.warns(UserWarning, match="mask") as caught:
            hole = to_hole(read_mask(mask) if isinstance(mask, Path) else mask, SIZE)
        assert (hole.numpy() == (values >= (0.5 if top == 1 else (top + 1) // 2))).all()
        sentence = str(caught[0].message)
        assert sentence.startswith(f"In the mask{of}, {between:.3g}% of the pixels lie between black and full ")
        assert sentence.endswith("make it black and white to say what it marks.")


@pytest.mark.parametrize(
    ("mask", "values"),
    [
        (tiles(20, 3, np.uint8), "0 to 20, none reaches half of 255"),
        (tiles(100, 3, np.uint16), "0 to 100, none reaches half of 255"),
        (tiles(2500, 1, np.uint16), "0 to 2500, none reaches half of 65535"),
        (EDGY // 3, "0 to 85, none reaches half of 255"),
        (np.float32(0.4) / 255 * EDGY, "0 to 0.4, none reaches half of 1"),
    ],
    ids=lambda value: value[:9] if isinstance(value, str) else str(value.dtype),
)
@pytest.mark.parametrize("invert", [False, True])
def test_several_values_below_half_are_refused(mask: np.ndarray, values: str, invert: bool) -> None:
    with pytest.raises(MaskError, match=f"mask is empty: of its values, from {values}; make white what it"):
        to_hole(Image.fromarray(mask), SIZE, invert)
    with pytest.raises(MaskError, match="source mask is empty"):
        to_region(Image.fromarray(mask), SIZE)


FULL = two(255)
TRANSPARENT = {
    f"{name} strokes": (with_alpha(colour, FULL), HOLE)
    for name, colour in {"black": 0, "white": 255, "red": (255, 0, 0), "gray": 90, "brown": (60, 30, 10)}.items()
}
TRANSPARENT |= {
    f"{name} strokes, antialiased": (with_alpha(colour, EDGY), EDGY >= 128)
    for name, colour in {"black": 0, "white": 255, "blue": (0, 0, 255)}.items()
}
TRANSPARENT |= {
    "black strokes of 40 %": (with_alpha(0, FULL // 5 * 2), HOLE),
    "strokes of several colours": (with_alpha(STROKES, FULL), HOLE),
    "black and red strokes": (with_alpha(np.where((X < 60)[..., None], 0, (255, 0, 0)), FULL), HOLE),
    "white on black, transparent border": (with_alpha(MASK[..., None], np.where(X < 20, 0, 255)), HOLE & (X >= 20)),
    "red on black, transparent border": (with_alpha(two((255, 0, 0)), np.where(Y < 20, 0, 255)), HOLE & (Y >= 20)),
    "antialiased, transparent border": (
        with_alpha(EDGY[..., None], np.where(X < 20, 0, 255)),
        (EDGY >= 128) & (X >= 20),
    ),
    "black strokes, LA": (with_alpha(0, FULL).convert("LA"), HOLE),
    "black strokes, palette": (with_alpha(0, FULL).quantize(4), HOLE),
    "opaque": (with_alpha(MASK[..., None], 255), HOLE),
    "all of one opacity": (with_alpha(MASK[..., None], 90), HOLE),
    "nearly of one opacity": (with_alpha(MASK[..., None], np.where(NOISE[..., 0] < 9, 254, 255)), HOLE),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_strokes_on_transparency(name: str, tmp_path: Path) -> None:
    mask, expected = TRANSPARENT[name]
    mask.save(tmp_path / "mask.png")
    assert (hole_of(mask) == expected).all()
    assert (hole_of(read_mask(tmp_path / "mask.png")) == expected).all()


@pytest.mark.parametrize("bright", [(255, 255, 255), (250, 250, 250), (255, 255, 250)])
def test_of_black_and_white_strokes_the_white(bright: tuple[int, ...]) -> None:
    strokes = with_alpha(np.where((X < 60)[..., None], 0, bright), FULL)
    with pytest.warns(UserWarning, match="mask has black and bright paint on transparency, of which the bright is tak"):
        hole = to_hole(strokes, SIZE)
    assert (hole.numpy() == (HOLE & (X >= 60))).all()


def test_a_transparent_colour() -> None:
    mask = Image.fromarray(two((0, 0, 0), (9, 9, 9)))
    mask.info["transparency"] = (9, 9, 9)
    assert (hole_of(mask) == HOLE).all()


@pytest.mark.parametrize(
    "colours",
    [
        PHOTOGRAPH,
        NOISE,
        PHOTOGRAPH // 8,  # at night
        PHOTOGRAPH[..., :1].repeat(3, 2),
        np.where((Y < 60)[..., None], (90, 140, 220), (60, 120, 40)),  # a graphic
        np.where((Y % 9 < 3) & (X % 2 == 0) & (X > 8), 0, 255)[..., None],  # a document
        np.where(((Y > 20) & (Y < 40) & (X > 60) & (X < 80))[..., None], PHOTOGRAPH, 255),  # a product on white
        np.where((Y < 12)[..., None], (40, 80, 200), np.where((NOISE < 20).all(2), 0, 250)[..., None]),  # a screenshot
        np.where(NOISE[..., :1] < 250, NOISE[..., 1:2] // 32, 255),  # stars
    ],
    ids=["smooth", "noise", "dark", "gray", "graphic", "document", "product", "screenshot", "stars"],
)
@pytest.mark.parametrize("alpha", [255 - FULL, 255 - EDGY, two(80, 255)], ids=["erased", "antialiased", "half erased"])
def test_a_photograph_with_an_erased_part(colours: np.ndarray, alpha: np.ndarray, tmp_path: Path) -> None:
    mask = with_alpha(colours, alpha)
    mask.save(tmp_path / "mask.png")
    for name, each in (("mask", mask), (f"mask {tmp_path / 'mask.png'}", tmp_path / "mask.png")):
        with pytest.warns(UserWarning, match="mask") as caught:
            hole = to_hole(read_mask(each) if isinstance(each, Path) else each, SIZE)
        assert (hole.numpy() == (alpha < 128)).all()
        sentence = f"The {name} is a photograph with a transparent part, which is taken for what it marks."
        assert [str(warning.message) for warning in caught] == [sentence]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deep_files(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    path = tmp_path / f"mask{suffix}"

    def hole(*channels: Any) -> np.ndarray:
        pixels = np.stack(np.broadcast_arrays(*channels), -1).astype(np.uint16)
        write_image(Photograph(pixels), path)
        return hole_of(read_mask(path))

    full = two(65535, dtype=np.uint16)
    assert (hole(0, 0, 0, full) == HOLE).all()
    assert (hole(20000, full) == HOLE).all()
    assert (hole(65535, 0, 0, EDGY * np.uint16(257)) == (EDGY >= 128)).all()
    assert (hole(0, two(2), 0) == HOLE).all()
    assert (hole(EDGY, EDGY, 0) == (EDGY >= 128)).all()  # 8 bits in 16
    write_image(Photograph(np.dstack([PHOTOGRAPH, 255 - FULL]) * np.uint16(257)), path)
    with pytest.warns(UserWarning, match="a photograph with a transparent part"):
        assert (read_mask(path) == HOLE).all()


@pytest.mark.parametrize("name", ["labels 1 to 200", "touching labels", "three bands"])
def test_the_rule_comes_before_the_size(name: str) -> None:
    mask = ARRAYS[name]
    for size in ((2 * HEIGHT, 2 * WIDTH), (90, 77)):
        resized = to_hole(mask, size, resize=True)
        assert torch.equal(resized, to_hole(mask != 0, size, resize=True))
        assert torch.equal(resized, to_region(mask, size, resize=True))
    image = Image.fromarray(EDGY)
    assert torch.equal(to_hole(image, (90, 77), resize=True), to_hole(EDGY >= 128, (90, 77), resize=True))


def test_from_the_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "solver.py").write_text("def fill(image, mask):\n    return image * (1 - mask) + mask / 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    Image.fromarray(NOISE).save(tmp_path / "photo.png")
    masks = {"red": Image.fromarray(STROKES), "black": with_alpha(0, FULL), "two": Image.fromarray(two(2))}
    masks["labels"] = Image.fromarray(tiles(20, 3, np.uint8))
    rows = ["image,mask,output"]
    for name, mask in masks.items():
        mask.save(tmp_path / f"{name}.png")
        rows.append(f"photo.png,{name}.png,{name}.png")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    command = ["--iterations", "0", "--scales", "1", "--content-network", "solver:fill", "--devices", "cpu", "--quiet"]
    output = tmp_path / "out"
    assert cli.main(["batch", "--manifest", str(tmp_path / "list.csv"), "--output", str(output), *command]) == 1
    assert "labels.png is empty: of its values, from 0 to 20," in " ".join(capfd.readouterr().out.split())
    for name in ("red", "black", "two"):
        changed = (np.asarray(Image.open(output / f"{name}.png")) != NOISE).any(-1)
        assert not changed[~HOLE].any() and changed[HOLE].mean() > 0.9
