"""The host-and-device headers of csrc/core."""

from __future__ import annotations

from itertools import product
from types import ModuleType

import numpy as np
import pytest

from . import reference as ref


@pytest.fixture
def core(emulation: ModuleType) -> ModuleType:
    return emulation.core


# -- geometry.h --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("extent", "size", "stride"), [*product(range(0, 12), range(1, 6), range(1, 5))])
def test_patches_along_an_axis(core: ModuleType, extent: int, size: int, stride: int) -> None:
    starts = range(0, extent - size + 1, stride)
    assert core.positions_along(extent, size, stride) == len(starts)
    for pixel in range(extent):
        containing = [i for i, start in enumerate(starts) if start <= pixel < start + size]
        first = core.first_patch_containing(pixel, size, stride)
        last = min(pixel // stride, len(starts) - 1)
        assert list(range(first, last + 1)) == containing


def test_positions_and_corners(core: ModuleType) -> None:
    columns, width = 5, 7
    for position in range(20):
        corner = core.corner_pixel(position, columns, width)
        assert corner == position // columns * width + position % columns
        assert core.position_of_corner(corner, columns, width) == position


def test_corner_of_a_position_beyond_32_bits(core: ModuleType) -> None:
    assert core.corner_pixel(3_000_000_000, 1_000_000, 1_000_002) == 3000 * 1_000_002


# -- best.h ------------------------------------------------------------------------------------------------


def test_better(core: ModuleType) -> None:
    assert core.better((0.5, 9), (0.4, 1))
    assert not core.better((0.4, 1), (0.5, 9))
    assert core.better((0.5, 1), (0.5, 2))
    assert not core.better((0.5, 2), (0.5, 1))
    assert not core.better((0.5, 1), (0.5, 1))
    assert core.better_than_none(-1e30, 2**40)


# -- diagonals.h -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "rows"), [*product(range(1, 8), [0b1, 0b101, 0x8000, 0b0110])])
def test_steps_for_rows(core: ModuleType, size: int, rows: int) -> None:
    needed = {row + i for row in range(16) if rows >> row & 1 for i in range(size)}
    assert core.steps_for_rows(rows, size) == sum(1 << step for step in needed)


def test_any_bit(core: ModuleType) -> None:
    flags = np.random.default_rng(0).random(160) < 0.03
    words = np.packbits(flags, bitorder="little").view(np.uint32)
    for begin, end in product(range(0, 160, 3), range(0, 161, 5)):
        assert core.any_bit(words, begin, end) == bool(flags[begin:end].any())


PLANS = [  # box (inclusive), size, key height, key width, query lanes, key lanes
    ((0, 0, 0, 0), 3, 3, 3, 64, 64),
    ((2, 19, 1, 9), 3, 12, 11, 64, 128),
    ((0, 40, 5, 30), 3, 9, 70, 64, 64),
    ((1, 15, 0, 90), 5, 8, 9, 64, 128),
    ((0, 16, 3, 8), 1, 5, 6, 64, 64),
]


@pytest.mark.parametrize("arguments", PLANS)
def test_every_pair_of_patches_is_met_once(core: ModuleType, arguments: tuple) -> None:
    """Walking all strips, each query of the box meets each key position exactly once."""
    box, size, key_height, key_width, query_lanes, key_lanes = arguments
    plan = core.plan_diagonals(*arguments)
    first_row, last_row, first_column, last_column = box
    for row, column in product(range(first_row, last_row + 1), range(first_column, last_column + 1)):
        strip, lane, band_row = core.place_of_query(plan, row, column)
        assert 0 <= strip < plan.query_strips and 0 <= lane <= query_lanes - size
        for dx in range(size):  # the patch's pixels lie in consecutive lanes of the strip
            exists, pixel_row, pixel_column = core.query_lane_pixel(plan, strip, lane + dx)
            assert exists and (pixel_row + band_row, pixel_column) == (row, column + dx)
    starts = [core.key_strip_pixel(plan, strip) for strip in range(plan.key_strips)]
    for band_row in range(plan.band_rows):
        met = np.zeros(key_height * key_width, int)
        for start in starts:
            begin = start + band_row * key_width
            met[max(begin, 0) : max(begin + key_lanes - size + 1, 0)] += 1
        corners = met.reshape(key_height, key_width)[: key_height - size + 1, : key_width - size + 1]
        assert np.all(corners == 1)


def test_no_plan_is_larger_than_the_largest(core: ModuleType) -> None:
    generator = np.random.default_rng(1)
    for _ in range(500):
        size = int(generator.integers(1, 8))
        rows, columns = (int(n) for n in generator.integers(1, 60, 2))
        key_height, key_width = (int(n) for n in generator.integers(size, 80, 2))
        top, left = int(generator.integers(rows)), int(generator.integers(columns))
        box = (top, int(generator.integers(top, rows)), left, int(generator.integers(left, columns)))
        for key_lanes in (64, 128):
            largest = core.largest_plan(rows, columns, size, key_height, key_width, 64, key_lanes)
            plan = core.plan_diagonals(box, size, key_height, key_width, 64, key_lanes)
            assert 1 <= plan.query_strips <= largest.query_strips
            assert 1 <= plan.key_strips <= largest.key_strips


@pytest.mark.parametrize("target", [1, 7, 1024])
def test_plans_share_their_items(core: ModuleType, target: int) -> None:
    """Together, split plans have at most as many items as wanted and one more for each query strip."""
    plans = [core.plan_diagonals(*arguments) for arguments in PLANS]
    work = sum(plan.query_strips * plan.key_strips for plan in plans)
    strips = core.strips_per_item(work, target)
    split = [core.split(plan, strips) for plan in plans]
    assert all(1 <= plan.splits <= plan.key_strips for plan in split)
    assert all(plan.key_strips <= strips * plan.splits for plan in split), "an item has more strips than its share"
    items = sum(plan.query_strips * plan.splits for plan in split)
    assert items <= min(work, target + sum(plan.query_strips for plan in plans))


# -- tensor_core.h -----------------------------------------------------------------------------------------


def test_fragments_cover_their_matrices(core: ModuleType) -> None:
    for elements, rows, columns in (
        (core.fragment_a(), 16, 16),
        (core.fragment_b(), 16, 8),
        (core.fragment_c(), 16, 8),
    ):
        places = [(row, column) for _, _, row, column in elements]
        assert sorted(places) == list(product(range(rows), range(columns)))


def test_fragments_are_laid_out_as_the_instruction_set_says(core: ModuleType) -> None:
    """The tables of the PTX manual for mma.m16n8k16: group = lane / 4, thread = lane % 4."""
    for lane, i, row, column in core.fragment_a():
        assert row == lane // 4 + (8 if i in (2, 3, 6, 7) else 0)
        assert column == lane % 4 * 2 + (i & 1) + (8 if i >= 4 else 0)
    for lane, i, row, column in core.fragment_b():
        assert row == lane % 4 * 2 + (i & 1) + (8 if i >= 2 else 0)
        assert column == lane // 4
    for lane, i, row, column in core.fragment_c():
        assert row == lane // 4 + (8 if i >= 2 else 0)
        assert column == lane % 4 * 2 + (i & 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_tensor_core_product(core: ModuleType, dtype: str) -> None:
    generator = np.random.default_rng(2)
    a, b = (ref.encode(generator.standard_normal(shape), dtype) for shape in ((16, 16), (8, 16)))
    np.testing.assert_allclose(core.multiply(a, b), ref.decode(a) @ ref.decode(b).T, rtol=0, atol=1e-5)


# -- the emulation's own element types ---------------------------------------------------------------------


def test_rounding_to_bfloat16(core: ModuleType) -> None:
    values = np.concatenate([np.random.default_rng(3).standard_normal(200) * 100, [0.0, 1 + 2**-8, 1 + 3 * 2**-8]])
    for value in values.astype(np.float32):
        assert core.round_to_bfloat16(float(value)) == ref.encode(np.array([value]), "bfloat16")[0]
