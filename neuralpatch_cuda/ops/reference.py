"""The operators in plain PyTorch: what they must compute, for tests and benchmarks.

Signatures and results are those of `neuralpatch_cuda.ops`, less the choice of a variant. All dtypes work,
float64 included; sums over 16-bit values are computed in float32. The losses are differentiable by autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def _wide(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def extract_patches(features: Tensor, size: int, stride: int = 1) -> Tensor:
    """`[B, C, H, W]` -> `[B, N, C * size * size]`."""
    return F.unfold(features, size, stride=stride).transpose(1, 2)


def match_patches(
    query: Tensor,
    key: Tensor | Sequence[Tensor],
    query_mask: Tensor,
    key_mask: Tensor | Sequence[Tensor],
    size: int = 3,
    precision: str = "auto",
) -> tuple[Tensor, Tensor]:
    """An image's full correlation matrix by one matrix product of unfolded patches, and its arg-max.

    The product has the inputs' own dtype, as the operator's speed is compared with this function's.
    """
    keys = [key] if isinstance(key, Tensor) else list(key)
    masks = [key_mask] if isinstance(key_mask, Tensor) else list(key_mask)
    if query.dim() == 3:
        query, keys, masks = query[None], [each[None] for each in keys], [each[None] for each in masks]
    if precision != "auto":
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        query, keys = query.to(dtype), [each.to(dtype) for each in keys]
    queries = extract_patches(query, size)
    if query_mask.dtype == torch.int64:
        chosen = query_mask.new_zeros(queries.shape[:2], dtype=torch.bool)
        chosen.view(-1)[query_mask] = True
    else:
        chosen = query_mask.reshape(queries.shape[:2])
    results = []
    for image in range(len(query)):
        candidates = torch.cat([extract_patches(_of_image(each, image), size)[0] for each in keys])
        selected = torch.cat([_of_image(each, image).flatten() for each in masks]).nonzero()[:, 0]
        results.append(_best_matches(queries[image][chosen[image]], candidates, selected))
    index, score = zip(*results, strict=True)
    return torch.cat(index), torch.cat(score)


def _of_image(maps: Tensor, image: int) -> Tensor:
    """One image's part, `[1, ...]`, of maps for every image or for all of them."""
    return maps if len(maps) == 1 else maps[image : image + 1]


def _best_matches(queries: Tensor, candidates: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
    keys = candidates[selected]
    correlation = _wide(queries @ keys.T) * _inverse_norm(keys)
    best = correlation.argmax(1)
    score = correlation.gather(1, best[:, None])[:, 0] * _inverse_norm(queries)
    return selected[best], score


def _inverse_norm(patches: Tensor) -> Tensor:
    """1 / norm of each row, 0 where the norm is 0."""
    norm = torch.linalg.vector_norm(_wide(patches), dim=1)
    return torch.where(norm == 0, 0, 1 / norm)


def vote_patches(
    key: Tensor | Sequence[Tensor],
    position: Tensor,
    index: Tensor,
    size: int,
    height: int,
    width: int,
    out: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Sums the matched patches and their number with `fold`, and divides."""
    keys = [key] if isinstance(key, Tensor) else list(key)
    patches = torch.cat([extract_patches(_wide(one)[None], size)[0] for one in keys])
    placed = patches.new_zeros((height - size + 1) * (width - size + 1), patches.shape[1])
    placed[position] = patches[index]
    taken = patches.new_zeros(placed.shape[0], size * size)
    taken[position] = 1
    total = F.fold(placed.T[None], (height, width), size)[0]
    count = F.fold(taken.T[None], (height, width), size)[0, 0]
    target, count = (total / count.clamp_min(1)).to(keys[0].dtype), count.float()
    return (target, count) if out is None else (out[0].copy_(target), out[1].copy_(count))


def texture_loss(features: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """`sum_p weight[p] * |features[:, p] - target[:, p]|^2`."""
    return ((_wide(features) - _wide(target)).square().sum(0) * weight).sum()


def texture_loss_and_gradient(
    features: Tensor, target: Tensor, weight: Tensor, gradient: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """By autograd."""
    return _loss_and_gradient(lambda x: texture_loss(x, target, weight), features, gradient)


def total_variation(x: Tensor, mask: Tensor) -> Tensor:
    """Squared differences of adjacent pixels of which at least one is in the mask, summed."""
    x = _wide(x)
    right = (x[:, :, 1:] - x[:, :, :-1]).square().sum(0)[mask[:, 1:] | mask[:, :-1]]
    below = (x[:, 1:] - x[:, :-1]).square().sum(0)[mask[1:] | mask[:-1]]
    return right.sum() + below.sum()


def total_variation_and_gradient(x: Tensor, mask: Tensor, gradient: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """By autograd."""
    return _loss_and_gradient(lambda x: total_variation(x, mask), x, gradient)


def _loss_and_gradient(
    function: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor | None
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        variable = x.detach().requires_grad_()
        loss = function(variable)
        (result,) = torch.autograd.grad(loss, variable)
    return loss.detach(), result if gradient is None else gradient.copy_(result)
