"""The operators in float64 numpy, written as their definitions read, and the element types of the tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Doubles = NDArray[np.float64]

DTYPES = ("float32", "float16", "bfloat16")
UNIT_ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def encode(values: Doubles, dtype: str) -> Array:
    """Rounds to `dtype`; bfloat16 comes as the uint16 array of its bits."""
    if dtype != "bfloat16":
        return values.astype(dtype)
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def decode(array: Array) -> Doubles:
    """The inverse of encode, in float64."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)


def positions(extent: int, size: int, stride: int = 1) -> int:
    return 0 if extent < size else (extent - size) // stride + 1


def extract_patches(features: Array, size: int, stride: int) -> Array:
    """[B, C, H, W] -> [B, N, C * size * size]; any dtype, by copying."""
    batch, channels, height, width = features.shape
    rows, columns = positions(height, size, stride), positions(width, size, stride)
    patches = np.zeros((batch, rows * columns, channels * size * size), features.dtype)
    for n in range(rows * columns):
        y, x = n // columns * stride, n % columns * stride
        patches[:, n] = features[:, :, y : y + size, x : x + size].reshape(batch, patches.shape[2])
    return patches


def extract_patches_backward(
    grad_patches: Doubles, channels: int, height: int, width: int, size: int, stride: int
) -> Doubles:
    """The adjoint: [B, N, C * size * size] -> [B, C, H, W]."""
    columns = positions(width, size, stride)
    grad = np.zeros((grad_patches.shape[0], channels, height, width))
    for n in range(grad_patches.shape[1]):
        y, x = n // columns * stride, n % columns * stride
        grad[:, :, y : y + size, x : x + size] += grad_patches[:, n].reshape(grad.shape[0], channels, size, size)
    return grad


def correlations(query: Doubles, key: Doubles, size: int) -> Doubles:
    """[H, W, C] maps -> [query positions, key positions] normalised cross-correlations; 0 for zero norms."""

    def unit_patches(features: Doubles) -> Doubles:
        patches = extract_patches(features.transpose(2, 0, 1)[None], size, 1)[0]
        norms = np.linalg.norm(patches, axis=1, keepdims=True)
        return np.divide(patches, norms, out=np.zeros_like(patches), where=norms > 0)

    return unit_patches(query) @ unit_patches(key).T


def vote_patches(
    key: Doubles, position: Array, index: Array, size: int, height: int, width: int
) -> tuple[Doubles, Doubles]:
    """Mean of the placed patches, [height, width, C], and their number, [height, width]."""
    total = np.zeros((height, width, key.shape[2]))
    count = np.zeros((height, width))
    columns, key_columns = width - size + 1, key.shape[1] - size + 1
    for place, source in zip(position.tolist(), index.tolist(), strict=True):
        y, x, v, u = place // columns, place % columns, source // key_columns, source % key_columns
        total[y : y + size, x : x + size] += key[v : v + size, u : u + size]
        count[y : y + size, x : x + size] += 1
    return total / np.maximum(count, 1)[..., None], count


def texture_loss(features: Doubles, target: Doubles, count: Doubles) -> tuple[float, Doubles]:
    difference = features - target
    return float((count[:, None] * difference**2).sum()), 2 * count[:, None] * difference


def total_variation(x: Doubles, mask: Array) -> tuple[float, Doubles]:
    gradient = np.zeros_like(x)
    across = (x[:, :, 1:] - x[:, :, :-1]) * (mask[:, 1:] | mask[:, :-1])
    down = (x[:, 1:] - x[:, :-1]) * (mask[1:] | mask[:-1])
    gradient[:, :, 1:] += 2 * across
    gradient[:, :, :-1] -= 2 * across
    gradient[:, 1:] += 2 * down
    gradient[:, :-1] -= 2 * down
    return float((across**2).sum() + (down**2).sum()), gradient
