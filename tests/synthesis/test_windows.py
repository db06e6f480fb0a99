import pytest
import torch

from neuralpatch_cuda.synthesis.boxes import Box
from neuralpatch_cuda.synthesis.memory import MOST_PIXELS
from neuralpatch_cuda.synthesis.windows import MINIMUM_MARGIN, STRIP_MARGIN, find_strip_windows, find_windows, grow


def mask_of(height: int, width: int, *boxes: Box) -> torch.Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    for box in boxes:
        mask[box.slices] = True
    return mask


def test_a_window_has_context_on_each_side() -> None:
    assert grow(Box(400, 500, 600, 600), 0.5, 1000, 1000) == Box(300, 400, 700, 700)


def test_a_small_hole_has_the_minimum_margin() -> None:
    assert grow(Box(200, 200, 201, 201), 0.5, 1000, 1000).height == 2 * MINIMUM_MARGIN + 1


@pytest.mark.parametrize("hole", [Box(0, 0, 100, 100), Box(900, 900, 1000, 1000), Box(0, 450, 100, 550)])
def test_a_window_at_the_edge_is_moved_inside_with_its_full_size(hole: Box) -> None:
    window = grow(hole, 1.0, 1000, 1000)
    assert (window.height, window.width) == (300, 300)
    assert window.top >= 0 and window.left >= 0 and window.bottom <= 1000 and window.right <= 1000


def test_a_window_is_never_larger_than_the_photograph() -> None:
    assert grow(Box(10, 10, 90, 90), 2.0, 100, 120) == Box(0, 0, 100, 120)


def test_distant_holes_have_windows_of_their_own() -> None:
    first, second = Box(10, 10, 60, 60), Box(900, 900, 950, 950)
    windows = find_windows(mask_of(1000, 1000, first, second), 0.5)
    assert [window.box for window in windows] == [grow(box, 0.5, 1000, 1000) for box in (first, second)]


def test_near_holes_share_a_window() -> None:
    first, second = Box(300, 300, 350, 350), Box(300, 380, 350, 430)
    (window,) = find_windows(mask_of(1000, 1000, first, second), 0.5)
    assert window.box == grow(first.union(second), 0.5, 1000, 1000)
    assert int(window.own.sum()) == 2 * 50 * 50


def test_diagonal_neighbours_are_one_hole() -> None:
    mask = torch.zeros(400, 400, dtype=torch.bool)
    mask[200, 200] = mask[201, 201] = True
    assert len(find_windows(mask, 0.5)) == 1


def test_a_mask_without_holes_has_no_window() -> None:
    assert find_windows(torch.zeros(50, 60, dtype=torch.bool), 0.5) == []


def random_specks(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(height, width, dtype=torch.bool)
    for _ in range(count):
        top, left = (int(torch.randint(0, n - 40, (), generator=generator)) for n in (height, width))
        mask[top : top + 3, left : left + 40] = True
    return mask


@pytest.mark.parametrize("count", [1, 6, 60])
@pytest.mark.parametrize("seed", range(3))
def test_every_hole_is_whole_in_one_window(seed: int, count: int) -> None:
    mask = random_specks(count, 700, 900, seed)
    owners = torch.zeros(mask.shape, dtype=torch.int)
    for window in find_windows(mask, 0.5):
        owners[window.box.slices] += window.own
        box, own = window.box, window.own
        assert (own & ~mask[box.slices]).sum() == 0
        rim = [own[0].any() and box.top, own[-1].any() and box.bottom < 700]
        rim += [own[:, 0].any() and box.left, own[:, -1].any() and box.right < 900]
        assert not any(rim)  # a hole at the edge of a window only where the photograph ends
    assert torch.equal(owners.bool(), mask) and owners.max() == 1


def test_scratches_all_over_a_scan_are_filled_at_once() -> None:
    (window,) = find_windows(random_specks(3000, 2000, 3000), 0.5)
    assert window.box == Box(0, 0, 2000, 3000)


def test_scattered_specks_cost_no_more_than_one_window_each() -> None:
    mask = random_specks(12, 4000, 5000)
    windows = find_windows(mask, 0.5)
    assert len(windows) > 5
    assert sum(window.own.numel() for window in windows) < 12 * 169 * 131


@pytest.mark.parametrize("count", [1, 40, 2000])
def test_strips_are_cut_into_windows_that_need_no_tiles(count: int) -> None:
    mask = random_specks(count, 1500, 2000)
    mask[700:706] = mask[:, 900:907] = True  # and long ones that cross
    owners = torch.zeros(mask.shape, dtype=torch.int)
    windows = find_strip_windows(mask)
    for window in windows:
        owners[window.box.slices] += window.own
        assert window.own.numel() <= MOST_PIXELS
        inner = window.own[STRIP_MARGIN:-STRIP_MARGIN, STRIP_MARGIN:-STRIP_MARGIN]
        whole = window.own.sum() == inner.sum()  # but at the photograph's edge
        assert (
            whole
            or window.box.top == 0
            or window.box.left == 0
            or window.box.bottom == 1500
            or (window.box.right == 2000)
        )
    assert torch.equal(owners.bool(), mask) and owners.max() == 1
    assert find_strip_windows(torch.zeros(50, 60, dtype=torch.bool)) == []


def test_a_long_strip_takes_little_of_the_photograph() -> None:
    mask = torch.zeros(2000, 2000, dtype=torch.bool)
    for step in range(0, 1990):
        mask[step : step + 8, step : step + 8] = True
    assert sum(window.own.numel() for window in find_strip_windows(mask)) < mask.numel() / 4
