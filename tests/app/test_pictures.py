"""What is shown in the browser, of photographs of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from neuralpatch_cuda.app.pictures import OPACITY, SIDE, mask_of_strokes, reduced, tinted, with_scale
from neuralpatch_cuda.imaging.files import Photograph
from neuralpatch_cuda.imaging.metadata import Metadata
from neuralpatch_cuda.inpainter import ScaleInfo
from neuralpatch_cuda.synthesis.boxes import Box

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RED, GREEN = (255, 0, 0), (0, 255, 0)


def swapped_profile() -> bytes:
    """sRGB, but with the red primary and the green one exchanged."""
    profile = bytearray(SRGB)
    entries = {}
    for number in range(int.from_bytes(profile[128:132], "big")):
        entry = 132 + 12 * number
        entries[bytes(profile[entry : entry + 4])] = slice(entry + 4, entry + 12)
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    profile[red], profile[green] = profile[green], profile[red]
    return bytes(profile)


KINDS: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "L": (100, (100, 100, 100)),
    "LA": ((100, 255), (100, 100, 100)),
    "RGB": ((10, 100, 200), (10, 100, 200)),
    "RGBA": ((10, 100, 200, 255), (10, 100, 200)),
    "I;16": (100 * 257, (100, 100, 100)),
    "F": (0.4, (102, 102, 102)),
    "uint16, 1": ((100 * 257,), (100, 100, 100)),
    "uint16, 2": ((100 * 257, 9), (100, 100, 100)),
    "uint16, 3": ((10 * 257, 100 * 257, 200 * 257), (10, 100, 200)),
    "uint16, 4": ((10 * 257, 100 * 257, 200 * 257, 9), (10, 100, 200)),
}
"""Kinds of photographs, with a pixel and the same as it is seen."""


def image_of(kind: str, size: tuple[int, int]) -> Image.Image | np.ndarray:
    pixel, _ = KINDS[kind]
    return np.full((*size[::-1], len(pixel)), pixel, np.uint16) if "uint16" in kind else Image.new(kind, size, pixel)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((30, 20), (30, 20)),
        ((SIDE, 4), (SIDE, 4)),
        ((2 * SIDE - 2, 40), (SIDE, 20)),
        ((40, 2 * SIDE), (20, SIDE)),
        ((3 * SIDE + 1, 1), (SIDE, 1)),
    ],
)
def test_every_kind_is_reduced_to_eight_bits(kind: str, size: tuple[int, int], shown: tuple[int, int]) -> None:
    photograph = Photograph(image_of(kind, size))
    picture = reduced(photograph)
    assert (picture.mode, picture.size) == ("RGB", shown)
    assert picture.getcolors() == [(shown[0] * shown[1], KINDS[kind][1])]
    assert photograph.size == size


@pytest.mark.parametrize(
    "factor",
    [1, 3],
)
@pytest.mark.parametrize("image", [Image.new("LA", (60, 30), (100, 9)), Image.new("RGBA", (60, 30), (10, 100, 200, 0))])
def test_transparent_pixels_are_seen_as_they_are_filled_from(image: Image.Image, factor: int) -> None:
    colours = image.convert("RGB").getpixel((0, 0))
    assert reduced(Photograph(image), side=60 // factor).getcolors() == [(60 * 30 // factor**2, colours)]


def test_a_small_photograph_is_shown_as_it_is() -> None:
    image = Image.fromarray(PIXELS)
    picture = reduced(Photograph(image))
    assert picture is not image and (np.asarray(picture) == PIXELS).all()


def test_it_is_reduced_in_its_place() -> None:
    """Gray, which is averaged, and 16 bits, of which pixels are left out."""
    image = Image.new("L", (400, 200))
    image.paste(255, (80, 40, 240, 120))
    deep = np.asarray(image).astype(np.uint16)[..., None] * 257
    for photograph in (Photograph(image), Photograph(deep)):
        picture = reduced(photograph, side=50)
        assert picture.size == (50, 25)
        assert picture.point(lambda value: 255 * (value > 127)).getbbox() == (10, 5, 30, 15)


def test_colours_are_brought_to_srgb() -> None:
    picture = reduced(Photograph(Image.new("RGB", (9, 9), RED), Metadata(swapped_profile())))
    assert picture.getpixel((4, 4)) == pytest.approx(GREEN, abs=2)
    same = reduced(Photograph(Image.fromarray(PIXELS), Metadata(SRGB)))
    assert np.abs(np.asarray(same).astype(int) - PIXELS).max() <= 1


@pytest.mark.parametrize(
    "profile",
    [
        *(b"damaged", SRGB[:200], SRGB[:128] + b"\xff" * 300),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    ],
)
def test_a_profile_that_cannot_be_used_changes_nothing(profile: bytes) -> None:
    picture = reduced(Photograph(Image.fromarray(PIXELS), Metadata(profile)))
    assert (np.asarray(picture) == PIXELS).all()


def test_the_veil_is_over_the_mask_alone() -> None:
    picture = Image.fromarray(PIXELS)
    mask = Image.new("L", picture.size)
    mask.paste(255, (5, 3, 12, 9))
    marked = np.asarray(mask) > 0
    seen = np.asarray(tinted(picture, mask)).astype(int)
    assert (seen[~marked] == PIXELS[~marked]).all()
    expected = PIXELS[marked] + (np.array([255, 32, 32]) - PIXELS[marked]) * OPACITY
    assert seen[marked] == pytest.approx(expected, abs=2)
    assert (np.asarray(picture) == PIXELS).all()


@pytest.mark.parametrize("factor", [4, 0.5])
def test_the_veil_fits_a_picture_of_another_size(factor: float) -> None:
    picture = Image.new("RGB", (80, 40))
    mask = Image.new("L", (round(80 * factor), round(40 * factor)))
    mask.paste(255, (0, 0, mask.width // 2, mask.height // 2))
    seen = np.asarray(tinted(picture, mask))[..., 0]
    assert seen[:18, :38].min() == seen.max() == round(255 * OPACITY)
    assert seen[22:].max() == seen[:, 42:].max() == 0


@pytest.mark.parametrize(
    ("box", "place"),
    [
        (Box(100, 200, 200, 500), (20, 10, 50, 20)),
        (Box(0, 0, 52, 108), (0, 0, 11, 5)),
        (Box(347, 893, 500, 1000), (89, 35, 100, 50)),
        (Box(0, 0, 500, 1000), (0, 0, 100, 50)),
        (Box(498, 998, 500, 1000), None),  # less than a pixel, at the border
    ],
)
def test_a_window_is_seen_in_its_place(box: Box, place: tuple[int, int, int, int] | None) -> None:
    picture = Image.new("RGB", (100, 50))
    window = Image.new("RGB", (37, 23), RED)
    scale = ScaleInfo(0, 0, box, window, [], [], (), 0.0)
    seen = with_scale(picture, (1000, 500), scale)
    assert seen.size == (100, 50) and seen.getbbox() == place
    if place is not None:
        assert seen.crop(place).getcolors(10) == [((place[2] - place[0]) * (place[3] - place[1]), RED)]
    assert picture.getbbox() is None


def test_faint_paint_is_none() -> None:
    """As at the edges of strokes."""
    strokes = np.array([[0, 60, 140, 255]], np.uint8).repeat(3, 0)
    mask = mask_of_strokes(strokes, (4, 3))
    assert mask.mode == "L" and (np.asarray(mask) == np.array([0, 0, 255, 255])).all()


@pytest.mark.parametrize("factor", [1, 2, 3.7])
def test_paint_is_enlarged_to_the_photograph(factor: float) -> None:
    strokes = np.zeros((50, 100), np.uint8)
    strokes[10:20, 30:100] = 255
    size = round(100 * factor), round(50 * factor)
    mask = mask_of_strokes(strokes, size)
    assert mask.size == size and mask.histogram()[0] + mask.histogram()[255] == size[0] * size[1]
    assert mask.getbbox() == pytest.approx((30 * factor, 10 * factor, 100 * factor, 20 * factor), abs=factor / 2)
