import pytest
import torch

from neuralpatch_cuda.synthesis.boxes import Box
from neuralpatch_cuda.synthesis.windows import MINIMUM_MARGIN, find_windows, grow


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
    windows = find_windows(mask_of(1000, 1000, Box(10, 10, 60, 60), Box(900, 900, 950, 950)), 0.5)
    assert len(windows) == 2


def test_near_holes_share_a_window() -> None:
    first, second = Box(300, 300, 350, 350), Box(300, 380, 350, 430)
    (window,) = find_windows(mask_of(1000, 1000, first, second), 0.5)
    assert window == grow(first.union(second), 0.5, 1000, 1000)


def test_diagonal_neighbours_are_one_hole() -> None:
    mask = torch.zeros(400, 400, dtype=torch.bool)
    mask[200, 200] = mask[201, 201] = True
    assert len(find_windows(mask, 0.5)) == 1


@pytest.mark.parametrize("seed", range(5))
def test_every_window_holds_its_holes_whole_and_no_part_of_anothers(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(700, 900, dtype=torch.bool)
    for _ in range(6):
        top, left = (int(torch.randint(0, n, (), generator=generator)) for n in (650, 850))
        mask[top : top + 30, left : left + 40] = True
    owners = torch.zeros(mask.shape, dtype=torch.int)
    for window in find_windows(mask, 0.5):
        owners[window.slices] += 1
        inner = mask[window.slices]
        on_rim = inner[0].any() or inner[-1].any() or inner[:, 0].any() or inner[:, -1].any()
        at_edge = window.top == 0 or window.left == 0 or window.bottom == 700 or window.right == 900
        assert at_edge or not on_rim
    assert (owners[mask] == 1).all()
