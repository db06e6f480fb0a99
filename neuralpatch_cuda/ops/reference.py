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
    """All queries look at their first candidate, then at their second, and so on."""
    search = _PatchMatch(query, key, query_position, key_mask, size, seed)
    index, score = start, search.correlate(start)
    for number in range(rounds):
        index, score = search.round(index, score, number)
    return index, score * _inverse_norm(search.queries)


class _PatchMatch:
    """The candidates of csrc/core/patchmatch.h."""

    def __init__(
        self,
        query: Tensor,
        key: Tensor | Sequence[Tensor],
        position: Tensor,
        key_mask: Tensor | Sequence[Tensor],
        size: int,
        seed: int,
    ) -> None:
        keys = [key] if isinstance(key, Tensor) else list(key)
        masks = [key_mask] if isinstance(key_mask, Tensor) else list(key_mask)
        self.position, self.seed = position, seed
        self.queries = extract_patches(_wide(query)[None], size)[0][position]
        self.keys = torch.cat([extract_patches(_wide(each)[None], size)[0] for each in keys])
        self.inverse_norm = _inverse_norm(self.keys)
        self.selected = torch.cat([mask.flatten() for mask in masks])
        self.shapes = position.new_tensor([mask.shape for mask in masks])
        self.first = F.pad(self.shapes.prod(1).cumsum(0), (1, 0))
        self.grid = query.shape[1] - size + 1, query.shape[2] - size + 1
        self.slot = position.new_full((self.grid[0] * self.grid[1],), -1)
        self.slot[position] = torch.arange(len(position), device=position.device)

    def correlate(self, index: Tensor) -> Tensor:
        """<q, k> / |k| of each query and a key."""
        return (self.queries * self.keys[index]).sum(1) * self.inverse_norm[index]

    def round(self, index: Tensor, score: Tensor, number: int) -> tuple[Tensor, Tensor]:
        before = index
        row, column = self.position // self.grid[1], self.position % self.grid[1]
        step = 8 >> number % 4
        for dy, dx in ((step, 0), (-step, 0), (0, step), (0, -step)):
            y, x = row + dy, column + dx
            inside = (y >= 0) & (y < self.grid[0]) & (x >= 0) & (x < self.grid[1])
            neighbour = torch.where(inside, self.slot[torch.where(inside, y * self.grid[1] + x, 0)], -1)
            index, score = self.offer(index, score, before[neighbour], -dy, -dx, neighbour >= 0)
        anywhere = self.bits(number, 0) * self.first[-1] >> 32
        index, score = self.offer(index, score, anywhere, 0, 0)
        home = torch.searchsorted(self.first, index, right=True) - 1
        radius, draw = self.shapes[home].amax(1) // 2, 1
        while (radius > 0).any():
            bits = self.bits(number, draw)
            down, right = (((half & 0xFFFF) * (2 * radius + 1) >> 16) - radius for half in (bits, bits >> 16))
            index, score = self.offer(index, score, index, down, right, radius > 0)
            radius, draw = radius // 2, draw + 1
        return index, score

    def offer(
        self,
        index: Tensor,
        score: Tensor,
        near: Tensor,
        dy: Tensor | int,
        dx: Tensor | int,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Take the key patch that lies `(dy, dx)` beside `near`, where there is one and it is better."""
        home = torch.searchsorted(self.first, near, right=True) - 1
        rows, columns = self.shapes[home].unbind(1)
        offset = near - self.first[home]
        y, x = offset // columns + dy, offset % columns + dx
        inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
        candidate = torch.where(inside, self.first[home] + y * columns + x, 0)
        found = self.correlate(candidate)
        better = inside & self.selected[candidate] & (found > score)
        if valid is not None:
            better &= valid
        return torch.where(better, candidate, index), torch.where(better, found, score)

    def bits(self, number: int, draw: int) -> Tensor:
        """32 random bits for each query."""
        mixed = _mix(_mix(torch.tensor(self.seed, device=self.position.device)) ^ number)
        return _mix(_mix(mixed ^ self.position) ^ draw)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of MurmurHash3, of whole numbers below 2^32."""
    x = (x ^ x >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    x = (x ^ x >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return x ^ x >> 16


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
