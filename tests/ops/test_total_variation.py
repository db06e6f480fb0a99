from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

SHAPES = [(1, 1, 1), (3, 1, 9), (3, 9, 1), (3, 8, 16), (3, 33, 47), (2, 5, 131), (1, 2, 2)]


def value_and_gradient(loss, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    value = loss(x, mask)
    return value.detach(), torch.autograd.grad(value, x)[0]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_matches_reference(shape, share, dtype, make_map, device):
    x = make_map(*shape, dtype)
    mask = torch.rand(shape[1:], device=device) < share
    loss, gradient = value_and_gradient(ops.total_variation, x, mask)
    exact, exact_gradient = value_and_gradient(reference.total_variation, x.double(), mask)
    assert loss.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(loss, exact.float(), rtol=1e-6, atol=1e-12)
    _, torch_gradient = value_and_gradient(reference.total_variation, x, mask)
    torch_error = (torch_gradient.double() - exact_gradient).abs().max()
    assert (gradient.double() - exact_gradient).abs().max() <= 2 * torch_error + 4e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_loss_and_gradient(shape, dtype, make_map, device):
    """The form without autograd, in place of what was there."""
    x, mask = make_map(*shape, dtype), torch.rand(shape[1:], device=device) < 0.2
    expected = value_and_gradient(ops.total_variation, x, mask)
    gradient = torch.full(shape, torch.nan, dtype=dtype, device=device)
    loss, result = ops.total_variation_and_gradient(x, mask, gradient)
    assert result is gradient
    assert torch.equal(loss, expected[0])
    assert torch.equal(gradient, expected[1])
    assert torch.equal(ops.total_variation_and_gradient(x, mask)[1], gradient)


def test_scaled_by_the_incoming_gradient(device):
    x, mask = torch.randn(3, 9, 11, device=device), torch.rand(9, 11, device=device) < 0.5
    _, gradient = value_and_gradient(ops.total_variation, x, mask)
    _, scaled = value_and_gradient(lambda *a: 3 * ops.total_variation(*a), x, mask)
    torch.testing.assert_close(scaled, 3 * gradient)


def test_only_the_hole_and_its_rim(device):
    x = torch.randn(3, 10, 12, device=device)
    mask = torch.zeros(10, 12, dtype=torch.bool, device=device)
    mask[4:6, 5:8] = True
    loss, gradient = value_and_gradient(ops.total_variation, x, mask)
    far = x.clone()
    far[:, :3] += 1
    far[:, :, 10:] -= 1
    assert ops.total_variation(far, mask) == loss
    rim = torch.nn.functional.max_pool2d(mask[None].float(), 3, 1, 1)[0] > 0
    assert not gradient[:, ~rim].any()
    x[:, ~rim] = torch.nan
    assert ops.total_variation(x, mask).isfinite()


def test_same_bytes_for_any_threads(dtype, threads):
    x, mask = torch.randn(3, 70, 90).to(dtype), torch.rand(70, 90) < 0.5
    threads(1)
    expected = value_and_gradient(ops.total_variation, x, mask)
    threads(2)
    result = value_and_gradient(ops.total_variation, x, mask)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))


def test_reference_gradcheck():
    mask = torch.rand(5, 6) < 0.5
    x = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: reference.total_variation(x, mask), x)


def test_opcheck(device):
    x = torch.randn(3, 9, 21, device=device, requires_grad=True)
    mask = torch.rand(9, 21, device=device) < 0.3
    torch.library.opcheck(torch.ops.neuralpatch.total_variation.default, (x, mask))
    torch.library.opcheck(
        torch.ops.neuralpatch.total_variation_and_gradient.default, (x.detach(), mask, torch.empty_like(x))
    )


def test_wrong_arguments(device):
    x, mask = torch.zeros(3, 6, 7, device=device), torch.zeros(6, 7, dtype=torch.bool, device=device)
    with pytest.raises(ValueError, match=r"mask must be \[6, 7\]"):
        ops.total_variation(x, mask.T)
    with pytest.raises(ValueError, match="3 dimensions"):
        ops.total_variation(x[None], mask)
    with pytest.raises(TypeError, match="mask must be bool"):
        ops.total_variation(x, mask.float())
    with pytest.raises(TypeError, match="float64"):
        ops.total_variation(x.double(), mask)
    with pytest.raises(ValueError, match="gradient must be contiguous"):
        ops.total_variation_and_gradient(x, mask, torch.zeros(3, 7, 6, device=device).mT)
