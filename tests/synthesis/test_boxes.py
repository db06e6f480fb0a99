import torch

from neuralpatch_cuda.synthesis.boxes import Box, bounding_box, refit


def test_bounding_box_is_tight() -> None:
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[3, 7] = mask[11, 4] = True
    assert bounding_box(mask) == Box(3, 4, 12, 8)


def test_cells_of_a_box() -> None:
    assert Box(3, 4, 12, 8).coarser(4) == Box(0, 1, 3, 2)
    assert Box(0, 1, 3, 2).finer(4) == Box(0, 4, 12, 8)
    assert Box(3, 4, 12, 8).grown(2) == Box(1, 2, 14, 10)


def test_union_and_intersection() -> None:
    a, b = Box(0, 0, 4, 6), Box(2, 3, 5, 5)
    assert a.union(b) == Box(0, 0, 5, 6) and a.intersection(b) == Box(2, 3, 4, 5)
    assert a.intersects(b) and not a.intersects(Box(4, 0, 5, 1))
    assert a.contains(Box(1, 1, 4, 6)) and not a.contains(b)


def test_refit_cuts_and_pads_with_zeros() -> None:
    x = torch.arange(1.0, 7).view(1, 2, 3)  # rows 5 and 6, columns 2 to 4
    covered = Box(5, 2, 7, 5)
    assert refit(x, covered, covered) is x
    assert refit(x, covered, Box(6, 3, 7, 5)).tolist() == [[[5, 6]]]
    assert refit(x, covered, Box(4, 3, 6, 6)).tolist() == [[[0, 0, 0], [2, 3, 0]]]
