"""The content reference without training, on textures small enough to know the answer."""

import pytest
import torch
from torch import Tensor, nn

from neuralpatch_cuda.evaluation.metrics import psnr
from neuralpatch_cuda.synthesis.exemplar import CombinedContent, ExemplarContent, ExemplarScale, depth, smooth_fill
from neuralpatch_cuda.synthesis.pyramid import resize


def centre_hole(height: int, width: int, side: int) -> Tensor:
    mask = torch.zeros(1, 1, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    mask[..., top : top + side, left : left + side] = 1
    return mask


def stripes(height: int, width: int, period: int) -> Tensor:
    """Slanted stripes in two colours, `[1, 3, height, width]`."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    share = 0.5 + 0.5 * torch.sin(2 * torch.pi * (x + y) / period)
    return (torch.tensor([0.9, 0.5, 0.1]).view(3, 1, 1) * share + torch.tensor([0.0, 0.3, 0.6]).view(3, 1, 1))[
        None
    ] / 1.2


def noise(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_a_periodic_texture_is_continued() -> None:
    image, mask = stripes(64, 64, 16), centre_hole(64, 64, 24)
    hole = mask[0, 0] > 0
    assert psnr(smooth_fill(image[0] * (1 - mask[0]), hole), image[0], hole) < 15
    assert psnr(ExemplarContent()(image, mask)[0], image[0], hole) > 30


def test_completeness_uses_more_of_the_exemplar() -> None:
    """Of an almost flat hole, most patches would choose the few flattest candidates."""
    image, hole = noise(48, 48)[0], centre_hole(48, 48, 20)[0, 0] > 0
    start = torch.where(hole, 0.45 + 0.1 * image.flip(1), image)
    used = []
    for completeness in (None, 0.2):
        scale = ExemplarScale(image, hole, 5, 1, completeness)
        used.append(len(scale.choose(scale.distances(start)).unique()))
    assert used[1] > 1.5 * used[0]


def test_distances_are_the_weighted_sum_of_squares() -> None:
    image, hole = noise(24, 20)[0], centre_hole(24, 20, 6)[0, 0] > 0
    scale = ExemplarScale(image, hole, 3, 1, None)
    patches = image.unfold(1, 3, 1).unfold(2, 3, 1)  # [3, 22, 18, 3, 3]
    confidence = (1.5 ** -depth(hole)).unfold(0, 3, 1).unfold(1, 3, 1)
    touched = hole.unfold(0, 3, 1).unfold(1, 3, 1).any(-1).any(-1)
    query, known = (patches[:, where].permute(1, 0, 2, 3) for where in (touched, ~touched))
    weight = confidence[touched] / confidence[touched].mean((1, 2), keepdim=True)
    expected = (weight[:, None, None] * (query[:, None] - known[None]).square()).mean((2, 3, 4))
    expected /= (known - known.mean(0)).square().mean()
    torch.testing.assert_close(scale.distances(image), expected, rtol=1e-4, atol=1e-4)


def test_votes_that_agree_are_copied() -> None:
    image, hole = noise(32, 32)[0], centre_hole(32, 32, 6)[0, 0] > 0
    scale = ExemplarScale(image, hole, 3, 1, None)
    touched = hole.unfold(0, 3, 1).unfold(1, 3, 1).any(-1).any(-1).flatten()
    number = (~touched).cumsum(0) - 1  # of a candidate, by its position
    chosen = number[touched.nonzero()[:, 0] - 9 * 30]  # for each hole patch, the one 9 rows above
    voted = scale.vote(chosen, torch.rand(len(chosen), generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(voted[:, hole], image.roll(9, 1)[:, hole])


@pytest.mark.parametrize("size", [(64, 64), (41, 67), (130, 99), (20, 33)])
def test_known_pixels_are_untouched_and_the_holes_ignored(size: tuple[int, int]) -> None:
    image, mask = noise(*size), centre_hole(*size, 11)
    content = ExemplarContent()
    filled = content(image, mask)
    assert filled.shape == image.shape and filled.min() >= 0 and filled.max() <= 1
    assert torch.equal(filled[mask.expand_as(image) == 0], image[mask.expand_as(image) == 0])
    assert torch.equal(filled, content(torch.where(mask > 0, torch.nan, image), mask))


def test_each_image_of_a_batch_has_its_own_hole() -> None:
    images = torch.cat([noise(40, 40), stripes(40, 40, 9)])
    masks = torch.cat([centre_hole(40, 40, 9), centre_hole(40, 40, 13)])
    content = ExemplarContent()
    alone = [content(image[None], mask[None]) for image, mask in zip(images, masks, strict=True)]
    assert torch.equal(content(images, masks), torch.cat(alone))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (48, 33), (128, 40)])
@pytest.mark.parametrize("known", [0, 1])
def test_a_hole_that_leaves_nothing_to_copy_is_filled_smoothly(size: tuple[int, int], known: int) -> None:
    image, mask = torch.full((1, 3, *size), 0.25), torch.ones(1, 1, *size)
    mask.view(-1)[:known] = 0
    filled = ExemplarContent()(image, mask)
    expected = torch.where(mask > 0, 0.25 if known else 0.5, image)
    torch.testing.assert_close(filled, expected)


@pytest.mark.parametrize("rows", [0, 1])
def test_no_hole_and_a_scratch(rows: int) -> None:
    image, mask = stripes(64, 64, 16), torch.zeros(1, 1, 64, 64)
    mask[..., 30 : 30 + rows, 5:60] = 1
    torch.testing.assert_close(ExemplarContent()(image, mask), image, atol=0.1, rtol=0)


def test_depth_counts_from_the_rim() -> None:
    hole = torch.zeros(7, 7, dtype=torch.bool)
    hole[1:6, 1:6] = True
    assert depth(hole)[3].tolist() == [0, 1, 2, 3, 2, 1, 0]
    assert depth(hole)[1].tolist() == [0, 1, 1, 1, 1, 1, 0]


class Predicts(nn.Module):
    """Stands for a content network."""

    def __init__(self, prediction: Tensor) -> None:
        super().__init__()
        self.prediction = prediction

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask > 0, self.prediction, image)


def test_combined_follows_the_network_where_it_is_sure() -> None:
    """Half of the photograph is dark, half is bright; only the network says where in the hole they meet."""
    truth = 0.3 * noise(64, 64)
    truth[..., 20:] += 0.6
    image, mask = truth.clone(), centre_hole(64, 64, 32)
    image[..., 40:] = truth[..., :24]  # dark, bright, dark: the hole's sides are both in doubt
    prediction = torch.full_like(image, 0.15)
    prediction[..., 32:, :] = 0.75
    combined = CombinedContent(Predicts(prediction), ExemplarContent())
    far = lambda x: resize(x[0, :, 16:48, 16:48], (4, 4))  # noqa: E731
    wanted = far(prediction)
    exemplar_error = (far(ExemplarContent()(image, mask)) - wanted).square().mean()
    combined_error = (far(combined(image, mask)) - wanted).square().mean()
    assert combined_error < 0.2 * exemplar_error
    assert torch.equal(combined(image, mask)[mask.expand_as(image) == 0], image[mask.expand_as(image) == 0])


def test_combined_is_the_exemplar_where_the_two_agree() -> None:
    image, mask = noise(48, 40), centre_hole(48, 40, 16)
    filled = ExemplarContent()(image, mask)
    assert torch.equal(CombinedContent(Predicts(filled), ExemplarContent())(image, mask), filled)


def test_trust_grows_with_the_difference() -> None:
    mask = centre_hole(32, 32, 16)
    combined = CombinedContent(nn.Identity(), ExemplarContent())
    trust = [combined.trust(torch.full((1, 3, 32, 32), d), torch.zeros(1, 3, 32, 32), mask) for d in (0.0, 0.1, 0.9)]
    inside = [x[mask > 0] for x in trust]
    assert (inside[0] == 0).all() and (inside[2] > 0.999).all()
    torch.testing.assert_close(inside[1], torch.full_like(inside[1], 1 - torch.exp(torch.tensor(-1.0)).item()))


def test_a_guess_fills_what_leaves_nothing_to_copy() -> None:
    image, mask, guess = noise(40, 33), torch.ones(1, 1, 40, 33), torch.full((1, 3, 40, 33), 0.8)
    torch.testing.assert_close(ExemplarContent()(image, mask, guess), guess)


@pytest.mark.parametrize(("size", "rows"), [((64, 64), slice(20, 44)), ((12, 500), slice(None))])
def test_the_fill_stays_within_the_known_colours(size: tuple[int, int], rows: slice) -> None:
    """Votes are averages, also very deep in the hole, and of a patch unlike all candidates among many with a twin."""
    image, mask = torch.full((1, 3, *size), 0.5), torch.zeros(1, 1, *size)
    mask[..., rows, 20:-20] = 1
    image[..., size[0] // 2 - 3 : size[0] // 2 + 3, 17:20] = 1
    filled = ExemplarContent()(image, mask)
    assert filled.min() > 0.499 and filled.max() < 1.001
