"""Other ways of finding the best-correlated patch, with the arguments and results of `ops.match_patches`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 4096
"""Patches of a block in `chunked`."""


def product(query: Tensor, key: Tensor, query_mask: Tensor, key_mask: Tensor, size: int = 3) -> tuple[Tensor, Tensor]:
    """One product of unfolded patches, the keys normalised first, and its maximum."""
    selected = key_mask.flatten().nonzero()[:, 0]
    queries, query_norm = _patches(query, query_mask, size)
    keys, key_norm = _patches(key, key_mask, size)
    score, best = (queries @ (keys / key_norm[:, None]).T).max(1)
    return selected[best], score / query_norm


def chunked(query: Tensor, key: Tensor, query_mask: Tensor, key_mask: Tensor, size: int = 3) -> tuple[Tensor, Tensor]:
    """The same, in blocks of a few thousand patches on either side, so that memory does not grow with the maps."""
    key_bands = _bands(key, key_mask, size)
    results = []
    for query_band, query_band_mask, _ in _bands(query, query_mask, size):
        queries, norm = _patches(query_band, query_band_mask, size)
        best_score = torch.full_like(norm, -torch.inf)
        best_index = torch.zeros_like(norm, dtype=torch.int64)
        for band, mask, first in key_bands:
            keys, key_norm = _patches(band, mask, size)
            if len(keys) == 0:
                continue
            score, best = (queries @ (keys / key_norm[:, None]).T).max(1)
            better = score > best_score
            best_score = torch.where(better, score, best_score)
            best_index = torch.where(better, first + mask.flatten().nonzero()[best, 0], best_index)
        results.append((best_index, best_score / norm))
    index, score = zip(*results, strict=True)
    return torch.cat(index), torch.cat(score)


def convolution(
    query: Tensor, key: Tensor, query_mask: Tensor, key_mask: Tensor, size: int = 3
) -> tuple[Tensor, Tensor]:
    """The key patches as the filters of a convolution over the query map.

    As CNNMRF (Li and Wand, CVPR 2016) and the 2017 release do: the responses are divided by the filters' norms.
    """
    selected = key_mask.flatten().nonzero()[:, 0]
    keys, norm = _patches(key, key_mask, size)
    filters = keys.view(len(keys), -1, size, size)
    response = F.conv2d(query[None], filters)[0]
    response /= norm[:, None, None]
    score, best = response.flatten(1)[:, query_mask.flatten()].max(0)
    return selected[best], score / _patches(query, query_mask, size)[1]


def faiss_flat(
    query: Tensor, key: Tensor, query_mask: Tensor, key_mask: Tensor, size: int = 3
) -> tuple[Tensor, Tensor]:
    """The exact inner-product index of faiss on the CPU, over normalised patches; float32 only."""
    import faiss

    selected = key_mask.flatten().nonzero()[:, 0]
    queries, query_norm = _patches(query, query_mask, size)
    keys, key_norm = _patches(key, key_mask, size)
    index = faiss.IndexFlatIP(keys.shape[1])
    index.add((keys / key_norm[:, None]).numpy())
    score, best = index.search((queries / query_norm[:, None]).numpy(), 1)
    return selected[torch.from_numpy(best)[:, 0]], torch.from_numpy(score)[:, 0]


def _patches(features: Tensor, mask: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The selected patches of `[C, H, W]` as rows, and their norms, never 0, both in the map's dtype."""
    patches = F.unfold(features[None], size)[0].T[mask.flatten()]
    norm = torch.linalg.vector_norm(patches, dim=1, dtype=torch.float32)
    return patches, norm.clamp_min(1e-20).to(patches.dtype)


def _bands(features: Tensor, mask: Tensor, size: int) -> list[tuple[Tensor, Tensor, int]]:
    """Bands of rows of about BLOCK positions: the features, the mask, and the number of the first position."""
    rows = max(1, BLOCK // mask.shape[1])
    return [
        (features[:, row : row + rows + size - 1], mask[row : row + rows], row * mask.shape[1])
        for row in range(0, mask.shape[0], rows)
    ]
