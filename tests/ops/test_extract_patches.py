from __future__ import annotations

import pytest
import torch

from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

CASES = [  # batch, channels, height, width, size, stride
    (1, 1, 1, 1, 1, 1),
    (2, 3, 7, 9, 3, 1),
    (1, 5, 8, 11, 3, 2),
    (2, 4, 13, 6, 5, 3),
    (1, 2, 9, 9, 2, 4),
    (0, 3, 5, 5, 3, 1),
    (2, 70, 37, 20, 3, 1),  # more channels and rows than are taken at a time
    (1, 33, 18, 35, 3, 2),
    (1, 40, 20, 9, 4, 1),
]


@pytest.mark.parametrize("case", CASES)
def test_matches_reference(case, dtype, device):
    *shape, size, stride = case
    features = torch.randn(shape).to(device, dtype)
    result = ops.extract_patches(features, size, stride)
    assert torch.equal(result, reference.extract_patches(features, size, stride))


def test_any_strides(device):
    features = torch.randn(2, 9, 8, 10, device=device).permute(0, 2, 3, 1)[:, 1:, :-1, ::2]
    assert torch.equal(ops.extract_patches(features, 3, 2), reference.extract_patches(features, 3, 2))
    features = torch.randn(2, 40, 9, 8, device=device).to(memory_format=torch.channels_last)
    assert torch.equal(ops.extract_patches(features, 3, 1), reference.extract_patches(features, 3, 1))


@pytest.mark.parametrize("case", CASES)
def test_gradient(case, dtype, device):
    *shape, size, stride = case
    features = torch.randn(shape).to(device, dtype).requires_grad_()
    patches = ops.extract_patches(features, size, stride)
    weights = torch.randn_like(patches)
    (gradient,) = torch.autograd.grad(patches, features, weights)
    exact = features.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(reference.extract_patches(exact, size, stride), exact, weights.double())
    # Sums of at most size^2 values, rounded once.
    torch.testing.assert_close(gradient, expected.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


def test_gradient_of_gradient(device):
    features = torch.randn(1, 2, 6, 7, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(ops.extract_patches(features, 3).square().sum(), features, create_graph=True)
    direction = torch.randn_like(features)
    (result,) = torch.autograd.grad(gradient, features, direction)
    # Each pixel's gradient is twice its value times the number of patches that hold it.
    count = torch.nn.functional.fold(reference.extract_patches(torch.ones_like(features), 3).transpose(1, 2), (6, 7), 3)
    torch.testing.assert_close(result, 2 * count * direction)


def test_reference_gradcheck():
    features = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: reference.extract_patches(x, 3, 2), features)


def test_opcheck(device):
    features = torch.randn(2, 3, 7, 9, device=device, requires_grad=True)
    torch.library.opcheck(torch.ops.neuralpatch.extract_patches.default, (features, 3, 2))
    patches = torch.randn(2, 12, 27, device=device, requires_grad=True)
    torch.library.opcheck(torch.ops.neuralpatch.extract_patches_backward.default, (patches, 3, 7, 9, 3, 2))


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (3, 0), (6, 1), (-1, 1)])
def test_impossible_sizes(size, stride, device):
    with pytest.raises(ValueError, match=r"size|stride"):
        ops.extract_patches(torch.zeros(1, 2, 5, 9, device=device), size, stride)


def test_wrong_arguments(device):
    with pytest.raises(ValueError, match="4 dimensions"):
        ops.extract_patches(torch.zeros(2, 5, 9, device=device), 3)
    with pytest.raises(TypeError, match="float64"):
        ops.extract_patches(torch.zeros(1, 2, 5, 9, device=device, dtype=torch.float64), 3)
