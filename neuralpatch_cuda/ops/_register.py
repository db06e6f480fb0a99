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


def _refine_matches_fake(
    query: Tensor,
    keys: list[Tensor],
    query_position: Tensor,
    key_masks: list[Tensor],
    start: Tensor,
    size: int,
    rounds: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(query_position), query.new_empty(query_position.shape, dtype=torch.float32)


def _vote_patches_fake(
    keys: list[Tensor], position: Tensor, index: Tensor, size: int, target: Tensor, count: Tensor
) -> None:
    return None


def _texture_loss_fake(features: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return features.new_empty((), dtype=torch.float32)


def _texture_loss_and_gradient_fake(features: Tensor, target: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
    return features.new_empty((), dtype=torch.float32)


def _total_variation_fake(x: Tensor, mask: Tensor) -> Tensor:
    return x.new_empty((), dtype=torch.float32)


def _total_variation_and_gradient_fake(x: Tensor, mask: Tensor, gradient: Tensor) -> Tensor:
    return x.new_empty((), dtype=torch.float32)


torch.library.register_fake("neuralpatch::extract_patches", _extract_patches_fake)
torch.library.register_fake("neuralpatch::extract_patches_backward", _extract_patches_backward_fake)
torch.library.register_fake("neuralpatch::match_patches", _match_patches_fake)
torch.library.register_fake("neuralpatch::refine_matches", _refine_matches_fake)
torch.library.register_fake("neuralpatch::vote_patches", _vote_patches_fake)
torch.library.register_fake("neuralpatch::texture_loss", _texture_loss_fake)
torch.library.register_fake("neuralpatch::texture_loss_and_gradient", _texture_loss_and_gradient_fake)
torch.library.register_fake("neuralpatch::total_variation", _total_variation_fake)
torch.library.register_fake("neuralpatch::total_variation_and_gradient", _total_variation_and_gradient_fake)


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


# A loss alone is computed forward, and its gradient in one pass backward: computing it forward would take as long in
# all, as backward would have to scale it, and hold a gradient in between.


def empty_pixel_major(like: Tensor) -> Tensor:
    """An uninitialised `[C, H, W]` in channels-last memory, with the shape, dtype and device of `like`."""
    channels, height, width = like.shape
    return like.new_empty(height, width, channels).permute(2, 0, 1)


def _loss_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


@once_differentiable
def _texture_backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
    features, target, weight = ctx.saved_tensors
    gradient = empty_pixel_major(features)
    _ops.texture_loss_and_gradient(features, target, weight * grad_loss, gradient)
    return gradient, None, None


@once_differentiable
def _variation_backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
    x, mask = ctx.saved_tensors
    gradient = x.new_empty(x.shape)
    _ops.total_variation_and_gradient(x, mask, gradient)
    return gradient.mul_(grad_loss), None


torch.library.register_autograd("neuralpatch::texture_loss", _texture_backward, setup_context=_loss_context)
torch.library.register_autograd("neuralpatch::total_variation", _variation_backward, setup_context=_loss_context)
