"""The library's hot loops: typed functions over `torch.ops.neuralpatch`.

A patch position is the top-left pixel of a `size x size` patch, numbered row-major over the grid of
`(height - size + 1) x (width - size + 1)` positions. Feature maps are `[C, H, W]` in float32, bfloat16 or
float16, with any strides; channels-last memory (stride of C = 1) is used as it is, anything else is copied
first. Sums are accumulated in float32 or better. Every result is deterministic and, on the CPU, independent
of the number of threads.

All functions raise `TypeError` for a wrong dtype, `ValueError` for a wrong shape, size or value, and
`DeviceError` for a CUDA tensor if the library was built without CUDA. `neuralpatch_cuda.ops.reference` has
the same functions in plain PyTorch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from neuralpatch_cuda.errors import DeviceError
from neuralpatch_cuda.ops import _register

__all__ = [
    "Precision",
    "build_info",
    "extract_patches",
    "match_patches",
    "refine_matches",
    "texture_loss",
    "texture_loss_and_gradient",
    "total_variation",
    "total_variation_and_gradient",
    "vote_patches",
]

Precision = Literal["auto", "fp32", "bf16"]

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)
_ops = torch.ops.neuralpatch
_logger = logging.getLogger("neuralpatch_cuda")


def extract_patches(features: Tensor, size: int, stride: int = 1) -> Tensor:
    """Lay every patch out as a row: `F.unfold(features, size, stride=stride).transpose(1, 2)`.

    Args:
        features: `[B, C, H, W]`.
        size: side of a patch in pixels, at most `min(H, W)`.
        stride: pixels between neighbouring patches.

    Returns:
        `[B, N, C * size * size]`, in the dtype of `features`, with
        `N = ((H - size) // stride + 1) * ((W - size) // stride + 1)`. Differentiable, any number of times.
    """
    _check_tensor("features", features, _FLOATS)
    result: Tensor = _ops.extract_patches.default(features, size, stride)
    return result


def match_patches(
    query: Tensor,
    key: Tensor | Sequence[Tensor],
    query_mask: Tensor,
    key_mask: Tensor | Sequence[Tensor],
    size: int = 3,
    precision: Precision = "auto",
    variant: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Find, for each selected query patch, the most similar of the selected key patches.

    Similarity is the normalised cross-correlation:

        index[i] = argmax_k <q_i, k> / (|q_i| |k|)

    The search is exact, and neither the correlation matrix nor the unfolded patches are ever in memory. Ties
    go to the lowest index; a pair with a patch of zeros scores 0; NaN never wins.

    Keys may come from several exemplars, such as rotations or scales of one photograph, or several
    photographs. Several images can be searched at once, each in its own exemplars or all in the same ones.

    Args:
        query: `[C, Hq, Wq]`, or `[B, C, Hq, Wq]` for B images.
        key: `[C, Hk, Wk]`, same dtype, or a sequence of such exemplars, each of its own height and width. With
            B images, `[B, C, Hk, Wk]`, or `[1, C, Hk, Wk]` for the same exemplar in all images.
        query_mask: bool `[Hq - size + 1, Wq - size + 1]`, or `[B, ...]`, True at the positions to find a match
            for. Or these positions as ascending numbers, int64 `[Nq]`, into the flattened mask: on CUDA, the
            search then waits for nothing, and can be captured in a CUDA graph.
        key_mask: bool `[Hk - size + 1, Wk - size + 1]`, True at the positions to choose from; as many as keys.
            With B images, `[B, ...]` or `[1, ...]`.
        size: side of a patch in pixels; on CUDA, at most 7.
        precision: "auto" multiplies in the dtype of the inputs; "fp32" and "bf16" convert them first.
        variant: "auto" takes the first of these that can run, "bfloat16" and "float32" of the CPU and
            "tensor_core", "tensor_core_split" and "float" of CUDA; a name forces it. Which one runs, and why, is
            logged at level DEBUG to the logger "neuralpatch_cuda".

    Returns:
        Two tensors.

        - index: int64 `[Nq]`, positions in the grid of `key`, for the selected queries in row-major order, image
          by image. The positions of each exemplar count on from those of the one before.
        - score: float32 `[Nq]`, in [-1, 1] up to rounding.

    Raises:
        ValueError: also if an image has queries, but no key is selected for it. On CUDA that is not known
            without waiting: its queries get index 0 and score NaN there. Nor are `query_mask`'s positions
            checked on CUDA; those out of range get the same.
    """
    _check_tensor("query", query, _FLOATS)
    keys, key_masks = _as_list(key), _as_list(key_mask)
    for each in keys:
        _check_tensor("key", each, (query.dtype,))
    for each in key_masks:
        _check_tensor("key_mask", each, (torch.bool,))
    _check_tensor("query_mask", query_mask, (torch.bool, torch.int64))
    if query.dim() not in (3, 4):
        raise ValueError(f"query must have 3 or 4 dimensions, not {query.dim()}")
    for name, tensors, dims in (("key", keys, query.dim()), ("key_mask", key_masks, query.dim() - 1)):
        for each in tensors:
            if each.dim() != dims:
                raise ValueError(f"{name} must have {dims} dimensions, as query has {query.dim()}, not {each.dim()}")
    if query_mask.dtype == torch.bool:
        query_mask = _selected_positions(query, query_mask, size)
    if query.dim() == 3:
        query = query[None]
        keys = [each[None] for each in keys]
        key_masks = [each[None] for each in key_masks]
    arguments = query, keys, query_mask, key_masks, size, precision, variant
    if not torch.compiler.is_compiling() and _logger.isEnabledFor(logging.DEBUG):
        _logger.debug("match_patches runs %s", _ops.match_patches_variant.default(*arguments))
    index, score = _ops.match_patches.default(*arguments)
    return index, score


def refine_matches(
    query: Tensor,
    key: Tensor | Sequence[Tensor],
    query_position: Tensor,
    key_mask: Tensor | Sequence[Tensor],
    start: Tensor,
    size: int = 3,
    rounds: int = 4,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Improve matches by PatchMatch: Barnes et al., "PatchMatch: A Randomized Correspondence Algorithm", 2009.

    Similarity is that of `match_patches`, which looks at every pair; this looks at a few dozen candidates per
    query and round, so that its time hardly grows with the number of keys. In a round, each query compares its match
    with those of its neighbours, moved back by their distance (8, 4, 2, 1, 8, ... positions), with one position drawn
    from all keys, and with positions drawn around the best so far, from half the map's side down to one. All
    queries of a round read the results of the one before, and random numbers depend on the seed, the round and the
    position alone: the result does not depend on the number of threads.

    Args:
        query: `[C, Hq, Wq]`.
        key: `[C, Hk, Wk]`, same dtype, or up to 64 such exemplars.
        query_position: int64 `[Nq]`, distinct, in the grid of `query`: the patches to match.
        key_mask: bool `[Hk - size + 1, Wk - size + 1]`, True at the positions to choose from; as many as keys.
        start: int64 `[Nq]`, the matches to begin with, each selected by `key_mask`. With several exemplars, the
            positions of each count on from those of the one before.
        size: side of a patch in pixels.
        rounds: 0 only scores the start.
        seed: from 0 to 2^32 - 1.

    Returns:
        Two tensors.

        - index: int64 `[Nq]`, as `start`. No match is worse than the one it began with.
        - score: float32 `[Nq]`, in [-1, 1] up to rounding.

    Raises:
        ValueError: also if a position is out of range or selected twice, or a start is not selected (checked on the
            CPU only).
    """
    _check_tensor("query", query, _FLOATS)
    keys, key_masks = _as_list(key), _as_list(key_mask)
    for each in keys:
        _check_tensor("key", each, (query.dtype,))
    for each in key_masks:
        _check_tensor("key_mask", each, (torch.bool,))
    for name, each in (("query_position", query_position), ("start", start)):
        _check_tensor(name, each, (torch.int64,))
    index, score = _ops.refine_matches.default(query, keys, query_position, key_masks, start, size, rounds, seed)
    return index, score


def _as_list(tensors: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return list(tensors) if isinstance(tensors, Sequence) else [tensors]


def _selected_positions(query: Tensor, mask: Tensor, size: int) -> Tensor:
    """The numbers of the mask's True values. On CUDA, this waits for the device."""
    *images, _, height, width = query.shape
    expected = [*images, height - size + 1, width - size + 1]
    # If no patch fits, the operator says so.
    if size >= 1 and min(expected[-2:]) > 0 and list(mask.shape) != expected:
        raise ValueError(
            f"query_mask must be {expected}, one value per patch position of query, not {list(mask.shape)}"
        )
    return mask.flatten().nonzero()[:, 0]


def vote_patches(
    key: Tensor | Sequence[Tensor],
    position: Tensor,
    index: Tensor,
    size: int,
    height: int,
    width: int,
    out: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Put matched patches in their places and average them where they overlap.

    With key patch `index[m]` at target position `position[m]`, and d running over the pixels of a patch:

        count[p] = number of (m, d) with position[m] + d = p
        target[:, p] = sum over them of key[:, index[m] + d] / count[p], or 0 where count[p] = 0

    Args:
        key: `[C, Hk, Wk]`, or up to 64 such maps (several exemplars) with equally many channels.
        position: int64 `[M]`, distinct, in the grid of the target.
        index: int64 `[M]`, in the grid of `key`; `match_patches` returns it. With several maps, it counts the positions
            of the first, then those of the second, and so on.
        size: side of a patch in pixels.
        height, width: of the target.
        out: the target and count of an earlier call, to be overwritten, so that nothing of their size is allocated.

    Returns:
        Two tensors.

        - target: `[C, height, width]` in the dtype of `key`, in channels-last memory.
        - count: float32 `[height, width]`, whole numbers.

    Raises:
        ValueError: also if a position or an index is out of range (checked on the CPU only).
    """
    keys = [key] if isinstance(key, Tensor) else list(key)
    if not keys:
        raise ValueError("key must be at least one feature map")
    for feature_map in keys:
        _check_tensor("key", feature_map, (keys[0].dtype,) if feature_map is not keys[0] else _FLOATS)
    _check_tensor("position", position, (torch.int64,))
    _check_tensor("index", index, (torch.int64,))
    if keys[0].ndim != 3:
        raise ValueError(f"key must have 3 dimensions, not {keys[0].ndim}")
    if out is None:
        target = keys[0].new_empty(height, width, keys[0].shape[0]).permute(2, 0, 1)
        count = keys[0].new_empty(height, width, dtype=torch.float32)
    else:
        target, count = out
        _check_tensor("the target of out", target, (keys[0].dtype,))
        _check_tensor("the count of out", count, (torch.float32,))
        if target.shape[-2:] != (height, width):
            raise ValueError(f"the target of out must be {height} x {width} pixels, not {tuple(target.shape[-2:])}")
    _ops.vote_patches.default(keys, position, index, size, target, count)
    return target, count


def texture_loss(features: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Squared distance of features to voted patches, weighted by the number of votes.

        loss = sum_p weight[p] * |features[:, p] - target[:, p]|^2

    With the target and count of `vote_patches`, this is the sum over matches of the squared distance between
    the patch of the features and the matched patch, up to a constant that does not depend on the features.

    Args:
        features: `[C, H, W]`.
        target: `[C, H, W]`, same dtype.
        weight: float32 `[H, W]`, the count, or any other weights; where it is 0, nothing else is read. A factor on the
            loss is best multiplied into it.

    Returns:
        A float32 scalar, differentiable once and with respect to `features` only. The gradient has the dtype of
        `features` and channels-last memory.
    """
    _check_texture(features, target, weight)
    loss: Tensor = _ops.texture_loss.default(features, target, weight)
    return loss


def texture_loss_and_gradient(
    features: Tensor, target: Tensor, weight: Tensor, gradient: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`texture_loss` and its gradient in one pass over the features, without autograd.

        gradient[:, p] = 2 * weight[p] * (features[:, p] - target[:, p])

    Args:
        features, target, weight: as for `texture_loss`.
        gradient: as `features`, in channels-last memory, to be overwritten; else it is allocated. Every element is
            written.

    Returns:
        Two tensors.

        - loss: a float32 scalar.
        - gradient: `[C, H, W]`, the one given or a new one in channels-last memory.
    """
    _check_texture(features, target, weight)
    if gradient is None:
        if features.ndim != 3:
            raise ValueError(f"features must have 3 dimensions, not {features.ndim}")
        gradient = _register.empty_pixel_major(features)
    _check_tensor("gradient", gradient, (features.dtype,))
    loss: Tensor = _ops.texture_loss_and_gradient.default(features.detach(), target, weight, gradient)
    return loss, gradient


def _check_texture(features: Tensor, target: Tensor, weight: Tensor) -> None:
    _check_tensor("features", features, _FLOATS)
    _check_tensor("target", target, (features.dtype,))
    _check_tensor("weight", weight, (torch.float32,))


def total_variation(x: Tensor, mask: Tensor) -> Tensor:
    """Squared differences of neighbouring pixels over the hole and its rim.

        loss = sum of |x[:, p] - x[:, p']|^2 over adjacent pixels p, p' with mask[p] or mask[p']

    Args:
        x: `[C, H, W]`.
        mask: bool `[H, W]`, True in the hole.

    Returns:
        A float32 scalar, differentiable once and with respect to `x`.
    """
    _check_variation(x, mask)
    loss: Tensor = _ops.total_variation.default(x, mask)
    return loss


def total_variation_and_gradient(x: Tensor, mask: Tensor, gradient: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`total_variation` and its gradient in one pass, without autograd.

    Args:
        x, mask: as for `total_variation`.
        gradient: as `x`, contiguous, to be overwritten; else it is allocated. Every element is written.

    Returns:
        Two tensors.

        - loss: a float32 scalar.
        - gradient: `[C, H, W]`, the one given or a new one.
    """
    _check_variation(x, mask)
    if gradient is None:
        gradient = x.new_empty(x.shape)
    _check_tensor("gradient", gradient, (x.dtype,))
    loss: Tensor = _ops.total_variation_and_gradient.default(x.detach(), mask, gradient)
    return loss, gradient


def _check_variation(x: Tensor, mask: Tensor) -> None:
    _check_tensor("x", x, _FLOATS)
    _check_tensor("mask", mask, (torch.bool,))


def build_info() -> dict[str, str]:
    """How the extension module was built, and the vector instructions it uses here.

    Keys: `compiler`, `cpu_isa` ("baseline", "avx2", "avx512" or "avx512bf16"), `cuda` ("yes" or "no") and, with CUDA,
    `cuda_archs` (compute capabilities, as in "75,80") and `cuda_devices` (their number).
    """
    return dict(line.split("=", 1) for line in _ops.build_info().splitlines())


def _check_tensor(name: str, tensor: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, not {type(tensor).__name__}")
    if tensor.dtype not in dtypes:
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{name} must be {names}, not {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.is_cuda and not _BUILT_WITH_CUDA:
        raise DeviceError(
            f"{name} is on {tensor.device}, but neuralpatch_cuda was built without CUDA: install it again "
            "where nvcc is found, or move the tensors to the CPU"
        )


_BUILT_WITH_CUDA = build_info()["cuda"] == "yes"
