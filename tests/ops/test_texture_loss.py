from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

SHAPES = [(1, 1, 1), (3, 5, 7), (256, 20, 21), (65, 9, 130), (300, 2, 3)]


def value_and_gradient(loss, features: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    features = features.detach().requires_grad_()
    value = loss(features, *others)
    return value.detach(), torch.autograd.grad(value, features)[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_matches_reference(shape, dtype, make_map, device):
    features, target = make_map(*shape, dtype), make_map(*shape, dtype)
    count = torch.randint(0, 10, shape[1:], device=device).float()
    loss, gradient = value_and_gradient(ops.texture_loss, features, target, count)
    exact, exact_gradient = value_and_gradient(reference.texture_loss, features.double(), target.double(), count)
    assert loss.dtype == torch.float32
    assert loss.shape == ()
    assert gradient.dtype == dtype
    torch.testing.assert_close(loss, exact.float(), rtol=1e-6, atol=0)
    _, torch_gradient = value_and_gradient(reference.texture_loss, features, target, count)
    torch_error = (torch_gradient.double() - exact_gradient).abs().max()
    assert (gradient.double() - exact_gradient).abs().max() <= 2 * torch_error + torch.finfo(torch.float32).eps


def test_scaled_by_the_incoming_gradient(device):
    features, target = torch.randn(2, 4, 5, 6, device=device).unbind()
    count = torch.rand(5, 6, device=device)
    _, gradient = value_and_gradient(ops.texture_loss, features, target, count)
    _, scaled = value_and_gradient(lambda *a: 3 * ops.texture_loss(*a), features, target, count)
    torch.testing.assert_close(scaled, 3 * gradient)


def test_loss_and_gradient(dtype, make_map, device):
    """The form without autograd, for every vector length and with fractional weights, in place of what was there."""
    for shape in SHAPES:
        features, target = make_map(*shape, dtype), make_map(*shape, dtype)
        weight = torch.rand(shape[1:], device=device) * (torch.rand(shape[1:], device=device) < 0.7)
        expected = value_and_gradient(ops.texture_loss, features, target, weight)
        gradient = torch.full((*shape[1:], shape[0]), torch.nan, dtype=dtype, device=device).permute(2, 0, 1)
        loss, result = ops.texture_loss_and_gradient(features, target, weight, gradient)
        assert result is gradient
        assert torch.equal(loss, expected[0])
        assert torch.equal(gradient, expected[1])
        assert torch.equal(ops.texture_loss_and_gradient(features, target, weight)[1], gradient)
        exact = reference.texture_loss_and_gradient(features.double(), target.double(), weight, gradient.double())
        torch.testing.assert_close(loss.double(), exact[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(gradient.double(), exact[1], rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_written_past_the_caches(dtype):
    """As maps larger than the caches are, on the CPU."""
    features, target = torch.randn(2, 130, 260, 256).to(dtype).permute(0, 3, 1, 2).unbind()
    weight = torch.rand(130, 260)
    _, gradient = ops.texture_loss_and_gradient(features, target, weight)
    expected = torch.cat(
        [
            ops.texture_loss_and_gradient(features[:, i : i + 10], target[:, i : i + 10], weight[i : i + 10])[1]
            for i in range(0, 130, 10)
        ],
        dim=1,
    )
    assert gradient.numel() * gradient.element_size() >= 16 << 20
    assert torch.equal(gradient, expected)


def test_nothing_counts(device):
    features = torch.full((4, 3, 3), torch.inf, device=device)
    loss, gradient = value_and_gradient(
        ops.texture_loss, features, torch.zeros_like(features), torch.zeros(3, 3, device=device)
    )
    assert loss == 0
    assert not gradient.any()


def patch_loss(features: Tensor, key: Tensor, position: Tensor, index: Tensor, size: int) -> Tensor:
    """The texture term as the paper writes it: a sum over patches."""
    patches = reference.extract_patches(features[None], size)[0][position]
    matched = reference.extract_patches(key[None], size)[0][index]
    return (patches - matched).square().sum()


@pytest.mark.parametrize("functions", [reference, ops], ids=["reference", "ops"])
def test_equals_the_patch_form_up_to_a_constant(functions, device):
    if functions is reference:
        dtype, tolerance = torch.float64, {"rtol": 1e-12, "atol": 1e-10}
    else:
        dtype, tolerance = torch.float32, {"rtol": 1e-5, "atol": 1e-4}
    key = torch.randn(8, 12, 13, dtype=dtype, device=device)
    first, second = torch.randn(2, 8, 10, 9, dtype=dtype, device=device).unbind()
    position = torch.randperm(56, device=device)[:30]
    index = torch.randint(110, (30,), device=device)
    target, count = functions.vote_patches(key, position, index, 3, 10, 9)

    def by_patches(features):
        return patch_loss(features, key, position, index, 3)

    def by_votes(features):
        return functions.texture_loss(features, target, count.to(dtype))

    patch_values, patch_gradients = zip(*(value_and_gradient(by_patches, f) for f in (first, second)), strict=True)
    vote_values, vote_gradients = zip(*(value_and_gradient(by_votes, f) for f in (first, second)), strict=True)
    for patch_gradient, vote_gradient in zip(patch_gradients, vote_gradients, strict=True):
        torch.testing.assert_close(vote_gradient, patch_gradient, **tolerance)
    difference = patch_values[0] - vote_values[0]
    torch.testing.assert_close(patch_values[1] - vote_values[1], difference, rtol=1e-4, atol=1e-3)
    if dtype == torch.float64:
        # The constant is the variance of the votes: what is left where the features equal the target.
        torch.testing.assert_close(difference, by_patches(target) - by_votes(target), **tolerance)


def test_same_bytes_for_any_threads(dtype, threads):
    features, target = torch.randn(2, 70, 40, 50).to(dtype).unbind()
    count = torch.randint(0, 10, (40, 50)).float()
    threads(1)
    expected = value_and_gradient(ops.texture_loss, features, target, count)
    threads(2)
    result = value_and_gradient(ops.texture_loss, features, target, count)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))


def test_reference_gradcheck():
    features, target = torch.randn(2, 3, 4, 5, dtype=torch.float64).unbind()
    count = torch.rand(4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: reference.texture_loss(x, target, count), features.clone().requires_grad_()
    )


def test_opcheck(device):
    features = torch.randn(4, 6, 7, device=device, requires_grad=True)
    arguments = torch.randn(4, 6, 7, device=device), torch.rand(6, 7, device=device)
    torch.library.opcheck(torch.ops.neuralpatch.texture_loss.default, (features, *arguments))
    gradient = torch.empty(6, 7, 4, device=device).permute(2, 0, 1)
    torch.library.opcheck(
        torch.ops.neuralpatch.texture_loss_and_gradient.default, (features.detach(), *arguments, gradient)
    )


def test_compiles(device):
    features, target = torch.randn(2, 4, 6, 7, device=device).unbind()
    count = torch.rand(6, 7, device=device)
    compiled = torch.compile(ops.texture_loss, backend="aot_eager", fullgraph=True)
    result = value_and_gradient(compiled, features, target, count)
    expected = value_and_gradient(ops.texture_loss, features, target, count)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))


def test_wrong_arguments(device):
    features, count = torch.zeros(4, 6, 7, device=device), torch.zeros(6, 7, device=device)
    with pytest.raises(ValueError, match="target must have the shape"):
        ops.texture_loss(features, features[:3], count)
    with pytest.raises(ValueError, match=r"weight must be \[6, 7\]"):
        ops.texture_loss(features, features, count[1:])
    with pytest.raises(ValueError, match="3 dimensions"):
        ops.texture_loss(features[None], features[None], count)
    with pytest.raises(TypeError, match="target must be float32"):
        ops.texture_loss(features, features.half(), count)
    with pytest.raises(TypeError, match="weight must be float32"):
        ops.texture_loss(features, features, count.double())
    with pytest.raises(ValueError, match="gradient must be in channels-last memory"):
        ops.texture_loss_and_gradient(features, features, count, torch.empty_like(features))
    with pytest.raises(ValueError, match="gradient must have the shape of features"):
        ops.texture_loss_and_gradient(features, features, count, features[1:])
    with pytest.raises(TypeError, match="gradient must be float32"):
        ops.texture_loss_and_gradient(features, features, count, features.half())
