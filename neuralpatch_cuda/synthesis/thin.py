"""Which pixels of a hole are thin, as those of scratches, wires and dust are, and how they are interpolated.

What lies beside a thin hole says more about it than any synthesis does. So it is interpolated, and only what is wider
than a hairline is sharpened afterwards. Thinness is decided pixel by pixel: a spot on a scratch is thick, the scratch
is not, and each is filled at its own cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage, sparse
from scipy.sparse import linalg
from torch import Tensor

from neuralpatch_cuda.synthesis.boxes import bounding_box
from neuralpatch_cuda.synthesis.exemplar import smooth_fill
from neuralpatch_cuda.synthesis.pyramid import THIN

Array: TypeAlias = npt.NDArray[Any]

Octagon: TypeAlias = tuple[int, int]
"""A square and a diamond by their radii in pixels; their Minkowski sum is nearly a disc."""

HAIRLINE: Octagon = (1, 1)
"""5 px across; what it does not fit into is a hairline, which is interpolated and no more."""

CROSSING: Octagon = (2, 4)
"""13 px across; it does not fit into the crossing of two scratches of less than `THIN` px, unless these are all but
parallel."""

STUB = 4
"""Pixels of a hairline that stay with the wider hole that it leads to; corners do, too."""

LEAST_SIDE = 16
"""Pixels, of an image that is synthesised: in smaller ones, networks see too little."""

HALO = 32
"""Pixels around a tile that are solved for along with it: a thin hole's pixels depend on nothing further away."""

TILE = 256
"""Side in pixels of the parts in which an image is interpolated: the factors of a larger one take more memory."""

TENSION = 0.03
"""Weight of the squared differences of neighbours beside that of the Laplacians. Without any, a pixel that has known
ones on one side only would be a wild guess; with this little, no other changes visibly."""

HOLD = 1e-6
"""Weight of the squared distance from a rough fill, which decides where nothing else does."""


@dataclass(frozen=True)
class Division:
    """A hole's pixels by how they are filled; all are bool `[H, W]`, on the CPU."""

    thin: Tensor
    """Interpolated."""
    strips: Tensor
    """Those of the thin ones that are sharpened afterwards, as they are wider than a hairline."""
    thick: Tensor
    """All others: synthesised from scale to scale."""


def divide(hole: Tensor) -> Division:
    """Tell the thin from the thick pixels of a hole, bool `[H, W]`.

    A connected hole is thick if a square of `THIN` px fits into it and no arm thinner than that leads away from it
    further than `THIN` px. Where one does, as in nets of scratches, only what an octagon of 13 px fits into is thick:
    a smaller one also fits into crossings. Hairlines are thin whatever they lead to, and so is everything in an image
    with a side of less than `LEAST_SIDE`.
    """
    thin, strips = (torch.zeros_like(hole, device="cpu") for _ in range(2))
    if min(hole.shape) < LEAST_SIDE:
        thin = hole.cpu()
    elif hole.any():
        box = bounding_box(hole).slices
        pixels = hole[box].numpy(force=True)
        wide = _around(_opened(pixels, HAIRLINE), STUB, pixels)
        thick = _thick(wide)
        thin[box], strips[box] = (torch.from_numpy(part & ~thick) for part in (pixels, wide))
    return Division(thin, strips, hole.cpu() & ~thin)


def _thick(hole: Array) -> Array:
    """The thick pixels of a hole without hairlines."""
    square = _around(_opened_by_square(hole), THIN, hole)
    arms = hole & ~square
    if not arms.any():
        return square
    core = _around(_opened(hole, CROSSING), THIN, hole)
    thick: Array = np.where(_connected(arms, hole), core, square)
    return thick


def _opened_by_square(hole: Array) -> Array:
    """The union of the squares of `THIN` px that fit into a hole."""
    padded = np.pad(hole, 1)  # what lies beyond the image is no hole
    for axis in (0, 1):
        padded = ndimage.minimum_filter1d(padded, THIN, axis, mode="nearest")
    for axis in (0, 1):
        padded = ndimage.maximum_filter1d(padded, THIN, axis, mode="constant", origin=-1)
    opened: Array = padded[1:-1, 1:-1]
    return opened


def _opened(hole: Array, octagon: Octagon) -> Array:
    """The union of the octagons that fit into a hole."""
    square, diamond = octagon
    eroded = ndimage.binary_erosion(hole, np.ones((3, 3)), square)
    eroded = ndimage.binary_erosion(eroded, iterations=diamond)
    opened: Array = ndimage.binary_dilation(eroded, iterations=diamond)
    return _near(opened, square)


def _around(pixels: Array, reach: int, hole: Array) -> Array:
    """The hole's pixels that are at most so many away from some of them, and connected to these within that reach."""
    return _connected(pixels, _near(pixels, reach) & hole)


def _connected(pixels: Array, hole: Array) -> Array:
    """The parts of a hole that have some of these pixels of it."""
    labels, count = ndimage.label(hole, np.ones((3, 3)))
    chosen = np.zeros(count + 1, np.bool_)
    chosen[labels[pixels]] = True
    chosen[0] = False
    connected: Array = chosen[labels]
    return connected


def _near(pixels: Array, reach: int) -> Array:
    """All that is at most so many pixels away, diagonally as well."""
    near: Array = ndimage.maximum_filter(pixels, 2 * reach + 1, mode="constant")
    return near


def interpolate(image: Tensor, hole: Tensor, unknown: Tensor) -> Tensor:
    """Fill thin holes with the smoothest continuation of what surrounds them.

    Minimises the sum of the squared Laplacians (inpainting by the biharmonic equation: Damelin and Hoang, "On surface
    completion and image inpainting by biharmonic functions", 2018) and `TENSION` times that of the squared differences
    of neighbours (Smith and Wessel, "Gridding with continuous curvature splines in tension", 1990), by a sparse
    factorisation in float64. Terms that need a pixel which stays unknown are left out.

    Args:
        image: `[C, H, W]`, floating point, on the CPU; values of unknown pixels do not matter, but must be finite.
        hole: the pixels to fill, bool `[H, W]`.
        unknown: other pixels that are not known, bool `[H, W]`.

    Returns:
        A copy, its hole filled and clamped to [0, 1].
    """
    start = smooth_fill(image, hole | unknown)
    filled = start.clone()
    left, right = _equations(image.double().numpy(), hole.numpy(), unknown.numpy())
    normal = (left.T @ left + HOLD * sparse.identity(left.shape[1])).tocsc()
    right = left.T @ right + HOLD * start[:, hole].double().numpy().T
    # Symmetric and positive definite: no pivoting.
    factors = linalg.splu(normal, "MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True})
    filled[:, hole] = torch.from_numpy(factors.solve(right).T).to(image.dtype).clamp(0, 1)
    return filled


def _equations(image: Array, hole: Array, unknown: Array) -> tuple[Any, Array]:
    """What should be zero, as a sparse matrix `[M, N]` for the hole's pixels and the right-hand sides `[M, C]`."""
    near = ndimage.binary_dilation(hole, iterations=2) & ~unknown
    number = np.full(hole.shape, -1)
    number[near] = np.arange(np.count_nonzero(near))
    down, across = near[:-1] & near[1:], near[:, :-1] & near[:, 1:]
    first = np.concatenate([number[:-1][down], number[:, :-1][across]])
    second = np.concatenate([number[1:][down], number[:, 1:][across]])
    count, ones = len(first), np.ones(len(first))
    differences = sparse.csr_matrix(
        (np.concatenate([ones, -ones]), (np.tile(np.arange(count), 2), np.concatenate([first, second]))),
        (count, np.count_nonzero(near)),
    )
    # At the image's border, a Laplacian does without the differences to what lies beyond.
    whole = ndimage.binary_dilation(hole) & ~ndimage.binary_dilation(unknown)
    laplacians = (differences.T @ differences)[number[whole]]
    equations = sparse.vstack([laplacians, math.sqrt(TENSION) * differences]).tocsc()
    known = near & ~hole
    return equations[:, number[hole]], -(equations[:, number[known]] @ image[:, known].T)
