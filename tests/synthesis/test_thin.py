"""What of a hole is thin, and how it is interpolated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

from neuralpatch_cuda.synthesis.pyramid import THIN
from neuralpatch_cuda.synthesis.thin import HAIRLINE, HALO, LEAST_SIDE, Division, divide, interpolate

SIDE = 160


def drawn(*shapes: tuple[str, tuple[float, ...], int], side: int = SIDE) -> torch.Tensor:
    """Lines with a width in pixels, and discs with a diameter in place of their end."""
    image = Image.new("1", (side, side))
    draw = ImageDraw.Draw(image)
    for kind, place, width in shapes:
        if kind == "line":
            draw.line(place, 1, width)
        else:
            x, y = place
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=1)
    return torch.from_numpy(np.array(image))


def share_of(part: torch.Tensor, hole: torch.Tensor) -> float:
    return float(part[hole].float().mean())


def assert_whole(parts: Division, hole: torch.Tensor) -> None:
    assert torch.equal(parts.thin | parts.thick, hole) and not (parts.thin & parts.thick).any()
    assert not (parts.strips & ~parts.thin).any()


@pytest.mark.parametrize("angle", [0, 17, 45, 71, 90])
@pytest.mark.parametrize(("width", "thin", "strips"), [(1, 1, 0), (3, 1, 0), (6, 1, 0.8), (12, 0, 0)])
def test_lines(width: int, thin: float, strips: float, angle: int) -> None:
    along = 60 * math.cos(math.radians(angle)), 60 * math.sin(math.radians(angle))
    hole = drawn(("line", (80 - along[0], 80 - along[1], 80 + along[0], 80 + along[1]), width))
    parts = divide(hole)
    assert_whole(parts, hole)
    assert share_of(parts.thin, hole) == thin
    assert share_of(parts.strips, hole) >= strips if strips else not parts.strips.any()


@pytest.mark.parametrize("angle", [30, 50, 90, 135])
@pytest.mark.parametrize("width", [2, 4, 7])
def test_crossings_are_thin(width: int, angle: int) -> None:
    along = 60 * math.cos(math.radians(angle)), 60 * math.sin(math.radians(angle))
    lines = [(20, 80, 140, 80), (80 - along[0], 80 - along[1], 80 + along[0], 80 + along[1])]
    hole = drawn(*(("line", line, width) for line in lines))
    assert not divide(hole).thick.any()


@pytest.mark.parametrize("size", [12, 20, 40])
@pytest.mark.parametrize("width", [1, 3])
def test_a_spot_on_a_hairline_is_thick_and_the_line_is_not(width: int, size: int) -> None:
    line, spot = drawn(("line", (5, 70, 155, 90), width)), drawn(("spot", (80, 80), size))
    parts = divide(line | spot)
    assert_whole(parts, line | spot)
    far = ndimage.distance_transform_edt(~spot.numpy()) > 8
    assert parts.thick[spot].all() and not parts.thick[torch.from_numpy(far)].any()


def test_a_spot_on_a_strip_is_thick_and_the_strip_is_not() -> None:
    line, spot = drawn(("line", (5, 70, 155, 90), 6)), drawn(("spot", (80, 80), 30))
    parts = divide(line | spot)
    far = torch.from_numpy(ndimage.distance_transform_edt(~spot.numpy()) > 2 * THIN)
    assert parts.thick[spot].all() and not parts.thick[far].any()
    assert share_of(parts.strips, line & far) == 1


@pytest.mark.parametrize("spacing", [6, 10])
def test_what_is_near_a_spot_but_not_connected_to_it_there_stays_thin(spacing: int) -> None:
    """A line that leads from a spot and comes back beside it."""
    spot = drawn(("spot", (60, 80), 24))
    beside = drawn(("line", (72 + spacing, 20, 72 + spacing, 140), 6))
    loop = drawn(("line", (60, 80, 60, 20), 6), ("line", (60, 20, 72 + spacing, 20), 6)) | beside
    parts = divide(spot | loop)
    assert parts.thick[spot].all()
    assert not parts.thick[beside & drawn(("line", (72 + spacing, 70, 72 + spacing, 90), 6))].any()


@pytest.mark.parametrize("seed", range(4))
def test_ordinary_holes_are_thick_to_the_last_pixel(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shapes = [("spot", tuple(generator.uniform(30, 130, 2)), int(generator.integers(14, 60))) for _ in range(5)]
    hole = drawn(*shapes)
    hole[20:60, 90:140] = True  # with corners
    parts = divide(hole)
    assert torch.equal(parts.thick, hole) and not parts.thin.any() and not parts.strips.any()


def test_squares_of_eight_pixels_decide() -> None:
    for side, thick in ((THIN - 1, False), (THIN, True)):
        hole = torch.zeros(50, 60, dtype=torch.bool)
        hole[20 : 20 + side, 30 : 30 + side] = True
        assert bool(divide(hole).thick.any()) == thick
    hole = torch.zeros(50, 60, dtype=torch.bool)
    hole[: THIN - 1] = True  # at the border, as anywhere
    assert not divide(hole).thick.any()


def test_in_tiny_images_all_is_thin() -> None:
    hole = torch.zeros(LEAST_SIDE - 1, 90, dtype=torch.bool)
    hole[:, 20:70] = True
    assert torch.equal(divide(hole).thin, hole)
    hole = torch.zeros(LEAST_SIDE, 90, dtype=torch.bool)
    hole[:, 20:70] = True
    assert torch.equal(divide(hole).thick, hole)


def test_no_hole() -> None:
    parts = divide(torch.zeros(30, 40, dtype=torch.bool))
    assert not (parts.thin | parts.strips | parts.thick).any()


def plane(height: int = 60, width: int = 80) -> torch.Tensor:
    """Colours that rise evenly, each channel in a direction of its own."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([x, y, (x + y) / 2]) * 0.8 + 0.1


def random_lines(count: int, width: int, seed: int = 0, side: int = SIDE) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    return drawn(*(("line", tuple(generator.uniform(0, side, 4)), width) for _ in range(count)), side=side)


@pytest.mark.parametrize("width", [1, 3, 6])
def test_a_plane_is_continued(width: int) -> None:
    image, hole = plane(SIDE, SIDE), random_lines(6, width)
    filled = interpolate(torch.where(hole, torch.zeros(()), image), hole, torch.zeros_like(hole))
    assert torch.equal(filled[:, ~hole], image[:, ~hole])
    inside = torch.from_numpy(ndimage.binary_erosion(np.ones(hole.shape), iterations=12))
    torch.testing.assert_close(filled[:, inside], image[:, inside], atol=2e-4, rtol=0)


def test_the_equation_is_the_one_that_is_promised() -> None:
    """Least squares of all Laplacians and differences, written out densely in float64."""
    generator = torch.Generator().manual_seed(0)
    height, width = 9, 11
    image = torch.rand(1, height, width, generator=generator) * 0.5 + 0.25
    hole = torch.zeros(height, width, dtype=torch.bool)
    hole[0:2, 3:5] = hole[4, 2:9] = hole[6:9, 10] = True
    cells = height * width
    rows = []
    for p in range(cells):
        y, x = divmod(p, width)
        beside = [
            (y + dy) * width + x + dx
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))
            if 0 <= y + dy < height and 0 <= x + dx < width
        ]
        laplacian = np.zeros(cells)
        laplacian[p] = len(beside)
        laplacian[beside] -= 1
        rows.append(laplacian)
        for q in beside:
            if q > p:
                difference = np.zeros(cells)
                difference[p], difference[q] = math.sqrt(0.03), -math.sqrt(0.03)
                rows.append(difference)
    matrix, inside = np.array(rows), hole.flatten().numpy()
    values = image.double().flatten().numpy()
    expected = np.linalg.lstsq(matrix[:, inside], -matrix[:, ~inside] @ values[~inside], rcond=None)[0]
    filled = interpolate(image, hole, torch.zeros_like(hole))
    np.testing.assert_allclose(filled[0, hole].numpy(), expected.clip(0, 1), atol=1e-5)


def test_what_is_unknown_besides_has_no_influence() -> None:
    image, hole = plane(), torch.zeros(60, 80, dtype=torch.bool)
    unknown = hole.clone()
    hole[30, 10:70] = True
    unknown[20:40, 30:50] = True
    unknown &= ~hole
    other = image.clone()
    other[:, unknown | hole] = torch.rand(3, int((unknown | hole).sum()))
    first, second = interpolate(image, hole, unknown), interpolate(other, hole, unknown)
    assert torch.equal(first[:, hole], second[:, hole])
    assert (first[:, hole] - image[:, hole]).abs().max() < 0.1  # a continuation, also where it has one side only


def test_what_is_beyond_the_halo_has_no_influence() -> None:
    """So that tiles join without a seam."""
    generator = torch.Generator().manual_seed(0)
    side = 2 * HALO + 40
    image, hole = torch.rand(3, side, side, generator=generator), random_lines(25, 3, side=side)
    whole = interpolate(image, hole, torch.zeros_like(hole))
    cut = slice(0, side - 20)
    part = interpolate(image[:, cut, cut], hole[cut, cut], torch.zeros_like(hole)[cut, cut])
    inner = slice(0, side - 20 - HALO)
    assert (part[:, inner, inner] - whole[:, inner, inner]).abs().max() < 1e-4


def test_without_anything_known_there_is_still_a_picture() -> None:
    hole = torch.ones(6, 7, dtype=torch.bool)
    filled = interpolate(torch.rand(3, 6, 7), hole, torch.zeros_like(hole))
    assert torch.isfinite(filled).all()
    assert filled.dtype == torch.float32


def test_hairlines_are_narrower_than_strips() -> None:
    assert 2 * sum(HAIRLINE) + 1 < THIN
