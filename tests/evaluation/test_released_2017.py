"""The port of the 2017 release does what it is measured as: each piece against a plain form of the same formula."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from neuralpatch_cuda.evaluation import released_2017
from neuralpatch_cuda.evaluation.released_2017 import MarkovField, Vgg, axes, grid, grid_patches
from neuralpatch_cuda.networks.weights import load_texture_network
from neuralpatch_cuda.ops import reference


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def network() -> Vgg:
    return Vgg.random()


def features(channels: int, height: int, width: int) -> Tensor:
    return torch.randn(height, width, channels).permute(2, 0, 1).relu()


def test_the_grid_covers_the_border() -> None:
    assert grid(8) == [0, 2, 4, 5]
    assert grid(9) == [0, 2, 4, 6]


def test_the_number_of_exemplar_patches_is_the_releases(network: Vgg) -> None:
    copies = released_2017.exemplar_copies(torch.rand(3, 128, 128))
    field = MarkovField([network(copy)[0] for copy in copies], recompute=True)
    assert field.patches.shape == (493, 512, 3, 3)  # as a run of the release prints it


def test_matches_are_those_of_the_reference() -> None:
    query, key = features(8, 10, 13), features(8, 14, 11)
    field = MarkovField([key], recompute=True)
    field.pull(query)

    def positions(x: Tensor) -> Tensor:
        mask = torch.zeros(x.shape[1] - 2, x.shape[2] - 2, dtype=torch.bool)
        mask[torch.tensor(grid(x.shape[1]))[:, None], torch.tensor(grid(x.shape[2]))] = True
        return mask

    index, score = reference.match_patches(query, key, positions(query), positions(key))
    assert field.best is not None
    assert torch.equal(positions(key).flatten().nonzero()[:, 0][field.best.flatten()], index)
    correlation = field.correlate(query)[:, positions(query)] / field.norm[:, None]
    torch.testing.assert_close(correlation.amax(0), score)


def test_the_pull_is_that_of_a_loop_over_patches() -> None:
    query, keys = features(4, 9, 8).double(), [features(4, 7, 10).double(), features(4, 6, 6).double()]
    exemplars = [k[:, y : y + 3, x : x + 3] for k in keys for y in grid(k.shape[1]) for x in grid(k.shape[2])]
    total, count = torch.zeros_like(query), torch.full_like(query[0], 1e-10)
    for y in grid(9):
        for x in grid(8):
            patch = query[:, y : y + 3, x : x + 3]
            best = max(exemplars, key=lambda e: ((e * patch).sum() / (e.norm() * patch.norm())).item())
            total[:, y : y + 3, x : x + 3] += best - patch
            count[y : y + 3, x : x + 3] += 1
    for recompute in (True, False):
        torch.testing.assert_close(MarkovField(keys, recompute).pull(query), total / count)


def test_matches_are_kept() -> None:
    field = MarkovField([features(4, 9, 9)], recompute=True)
    field.pull(features(4, 8, 8))
    kept = field.best
    field.pull(features(4, 8, 8))
    assert field.best is kept


def test_the_content_gradient_is_that_of_the_mean_square() -> None:
    x, held = features(4, 5, 6).requires_grad_(), features(4, 5, 6)
    (expected,) = torch.autograd.grad(20 * F.mse_loss(x, held), x)
    torch.testing.assert_close(released_2017.content_gradient(x.detach(), held), expected)


def test_the_variation_gradient_is_that_of_the_squared_differences() -> None:
    x = torch.randn(3, 6, 7, requires_grad=True)
    right, below = x[:, :-1, 1:] - x[:, :-1, :-1], x[:, 1:, :-1] - x[:, :-1, :-1]
    (expected,) = torch.autograd.grad(1e-4 * (right.square() + below.square()).sum() / 2, x)
    torch.testing.assert_close(released_2017.variation_gradient(x.detach()), expected)


def test_the_minimiser_is_plain_lbfgs_with_a_history_of_25() -> None:
    curvature, target = torch.logspace(-2, 1, 50, dtype=torch.float64), torch.randn(50, dtype=torch.float64)

    def gradient(x: Tensor) -> Tensor:
        return curvature * (x - target) + (x - target) ** 3

    iterations = 40
    x = torch.zeros(50, dtype=torch.float64)
    g = gradient(x)
    x, last = x - g * min(1, 1 / g.abs().sum().item()), x
    pairs: list[tuple[Tensor, Tensor]] = []
    for _ in range(iterations - 1):
        g, before = gradient(x), gradient(last)
        pairs = [*pairs, (x - last, g - before)][-25:]
        assert torch.dot(*pairs[-1]) > 1e-10  # so that every pair is kept
        direction, weights = -g, []
        for s, y in reversed(pairs):
            weights.append(torch.dot(s, direction) / torch.dot(s, y))
            direction = direction - weights[-1] * y
        direction = direction * torch.dot(*pairs[-1]) / pairs[-1][1].square().sum()
        for (s, y), weight in zip(pairs, reversed(weights), strict=True):
            direction = direction + (weight - torch.dot(y, direction) / torch.dot(s, y)) * s
        x, last = x + direction, x

    ported = torch.zeros(50, dtype=torch.float64, requires_grad=True)
    evaluations = 0

    def evaluate() -> float:
        nonlocal evaluations
        evaluations += 1
        ported.grad = gradient(ported.detach())
        return 0.0

    released_2017.minimiser(ported, iterations).step(evaluate)
    assert evaluations == iterations
    torch.testing.assert_close(ported.detach(), x)


@pytest.mark.parametrize("angle", released_2017.ROTATIONS)
def test_turned_copies_are_blank_at_most_at_their_rim(angle: float) -> None:
    rows, columns = released_2017.largest_box(128, 128, angle)
    turned = released_2017.rotate(torch.ones(1, 128, 128), angle)
    inner = turned[:, rows, columns][:, 2:-2, 2:-2]
    torch.testing.assert_close(inner, torch.ones_like(inner))
    assert rows.stop - rows.start > 105
    assert columns.stop - columns.start > 105


def test_resizing() -> None:
    image = torch.rand(3, 12, 10)
    grown = F.interpolate(image[None], (17, 21), mode="bilinear", align_corners=True)[0]
    torch.testing.assert_close(released_2017.resize(image, 17, 21), grown)
    torch.testing.assert_close(released_2017.resize(image, 6, 5), F.avg_pool2d(image, 2))
    row = released_2017.resize(torch.tensor([[[1.0, 2.0, 4.0]]]), 1, 2)  # areas of one and a half pixels
    torch.testing.assert_close(row, torch.tensor([[[(1 + 2 / 2) / 1.5, (2 / 2 + 4) / 1.5]]]))


def test_the_hole_is_painted_over_as_in_the_release() -> None:
    image = torch.rand(3, 512, 512)
    expected = image.clone()
    for rows, source in (((117, 232), (1, 116)), ((233, 280), (69, 116)), ((281, 396), (397, 512))):
        expected[:, rows[0] - 1 : rows[1], 116:396] = image[:, source[0] - 1 : source[1], 116:396]
    assert torch.equal(released_2017.paint_over(image), expected)


def test_the_embedded_network_is_the_packages() -> None:
    image = torch.rand(3, 32, 48)
    caffe = (image * 255).flip(0) - torch.tensor(released_2017.MEAN).view(3, 1, 1)
    expected = load_texture_network("vgg16", ["relu4_1"])(image)["relu4_1"]
    torch.testing.assert_close(Vgg.embedded()(caffe)[0], expected, rtol=1e-3, atol=1e-5 * expected.max().item())


@pytest.mark.parametrize(("recompute", "correlations"), [(True, 6), (False, 2)])
def test_a_whole_run(network: Vgg, recompute: bool, correlations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()
    correlate, content_gradient = MarkovField.correlate, released_2017.content_gradient

    def counted_correlate(self: MarkovField, x: Tensor) -> Tensor:
        calls["correlations"] += 1
        return correlate(self, x)

    def counted_gradient(x: Tensor, held: Tensor) -> Tensor:
        calls["evaluations"] += 1
        return content_gradient(x, held)

    monkeypatch.setattr(MarkovField, "correlate", counted_correlate)
    monkeypatch.setattr(released_2017, "content_gradient", counted_gradient)
    image, weight = torch.rand(3, 128, 128), torch.ones(128, 128)
    weight[32:96, 32:96] = 0
    content = torch.where(weight.bool(), image, 0.5)
    out = released_2017.inpaint(image, content, weight, network, scales=2, iterations=3, recompute=recompute)
    assert calls == {"correlations": correlations, "evaluations": 6}
    assert torch.equal(out[:, weight.bool()], image[:, weight.bool()])
    assert out.isfinite().all()
    assert (out != content)[:, ~weight.bool()].any()


def test_patches_lie_on_the_grid() -> None:
    x = features(2, 8, 9)
    assert torch.equal(grid_patches(x, *axes(x))[:, 3, 1], x[:, 5:8, 2:5])
