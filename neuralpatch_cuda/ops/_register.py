"""What `torch.compile` and autograd must know about the operators: fake kernels and derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neuralpatch_cuda.ops import _load  # noqa: F401

_ops = torch.ops.neuralpatch


def _positions(extent: int, size: int, stride: int = 1) -> int:
    return (extent - size) // stride + 1


def _extract_patches_fake(features: Tensor, size: int, stride: int) -> Tensor:
    batch, channels, height, width = features.shape
    patches = _positions(height, size, stride) * _positions(width, size, stride)
    return features.new_empty(batch, patches, channels * size * size)


def _extract_patches_backward_fake(
    grad_patches: Tensor, channels: int, height: int, width: int, size: int, stride: int
) -> Tensor:
    return grad_patches.new_empty(grad_patches.shape[0], channels, height, width)


def _match_patches_fake(
    query: Tensor,
    keys: list[Tensor],
    query_position: Tensor,
    key_masks: list[Tensor],
    size: int,
    precision: str,
    variant: str,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(query_position), query.new_empty(query_position.shape, dtype=torch.float32)


def _vote_patches_fake(
    key: Tensor, position: Tensor, index: Tensor, size: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    target = key.new_empty(height, width, key.shape[0]).permute(2, 0, 1)
    return target, key.new_empty(height, width, dtype=torch.float32)


def _texture_loss_fake(features: Tensor, target: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    channels, height, width = features.shape
    gradient = features.new_empty(height, width, channels).permute(2, 0, 1)
    return features.new_empty((), dtype=torch.float32), gradient


def _total_variation_fake(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty((), dtype=torch.float32), x.new_empty(x.shape)


torch.library.register_fake("neuralpatch::extract_patches", _extract_patches_fake)
torch.library.register_fake("neuralpatch::extract_patches_backward", _extract_patches_backward_fake)
torch.library.register_fake("neuralpatch::match_patches", _match_patches_fake)
torch.library.register_fake("neuralpatch::vote_patches", _vote_patches_fake)
torch.library.register_fake("neuralpatch::texture_loss", _texture_loss_fake)
torch.library.register_fake("neuralpatch::total_variation", _total_variation_fake)


# Extraction is linear, and each of the two operators is the other's adjoint.


def _extract_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
    features, ctx.size, ctx.stride = inputs
    _, ctx.channels, ctx.height, ctx.width = features.shape


def _extract_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    result = _ops.extract_patches_backward(grad, ctx.channels, ctx.height, ctx.width, ctx.size, ctx.stride)
    return result, None, None


def _adjoint_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *_, ctx.size, ctx.stride = inputs


def _adjoint_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _ops.extract_patches(grad, ctx.size, ctx.stride), None, None, None, None, None


torch.library.register_autograd("neuralpatch::extract_patches", _extract_backward, setup_context=_extract_context)
torch.library.register_autograd(
    "neuralpatch::extract_patches_backward", _adjoint_backward, setup_context=_adjoint_context
)


# The losses compute their gradient in the same pass as their value; backward only scales it.


def _loss_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.inputs = len(inputs)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


@once_differentiable
def _loss_backward(ctx: Any, grad_loss: Tensor, grad_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
    (gradient,) = ctx.saved_tensors
    return gradient * grad_loss, *(None for _ in range(ctx.inputs - 1))


torch.library.register_autograd("neuralpatch::texture_loss", _loss_backward, setup_context=_loss_context)
torch.library.register_autograd("neuralpatch::total_variation", _loss_backward, setup_context=_loss_context)
