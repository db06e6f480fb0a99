import pytest
import torch

from neuralpatch_cuda.synthesis.pyramid import resize, scale_sizes, shrink


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), [(128, 128), (256, 256), (512, 512)]),
        ((400, 600), [(128, 192), (256, 384), (400, 600)]),
        ((300, 300), [(128, 128), (300, 300)]),
        ((700, 600), [(149, 128), (299, 256), (700, 600)]),
        ((128, 500), [(128, 500)]),
        ((90, 70), [(90, 70)]),
    ],
)
def test_scales_double_and_end_at_the_window_itself(size: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    assert scale_sizes(*size) == expected


def test_a_limit_keeps_the_finest() -> None:
    assert scale_sizes(512, 512, 2) == [(256, 256), (512, 512)]


def test_resize_to_the_same_size_returns_the_same_values() -> None:
    image = torch.rand(3, 9, 7)
    assert resize(image, (9, 7)) is image


@pytest.mark.parametrize("size", [(13, 40), (50, 11), (80, 70)])
def test_resize_keeps_a_constant(size: tuple[int, int]) -> None:
    torch.testing.assert_close(resize(torch.full((3, 40, 33), 0.3), size), torch.full((3, *size), 0.3))


def test_nothing_of_the_hole_bleeds_into_the_surroundings() -> None:
    image = torch.full((3, 64, 64), 0.25)
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[20:40, 11:37] = True
    image[:, mask] = 1e6
    small, hole = shrink(image, mask, (16, 16))
    assert hole.any() and not hole.all()
    torch.testing.assert_close(small[:, ~hole], torch.full_like(small[:, ~hole], 0.25))
    assert (small[:, hole] == 0).all()


def test_a_scratch_vanishes_where_its_neighbours_are_known() -> None:
    image, mask = torch.rand(3, 64, 64), torch.zeros(64, 64, dtype=torch.bool)
    mask[30] = True
    _, hole = shrink(image, mask, (16, 16))
    assert not hole.any()
