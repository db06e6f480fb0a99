"""A content reference without training: the hole is filled with what the photograph shows elsewhere.

Patches of the hole are matched with known patches, and the matched patches averaged where they overlap, over and
over and from a coarse scale to fine ones: Wexler, Shechtman and Irani, "Space-Time Completion of Video", PAMI 2007. A
candidate's distance is weighted by how well it is already represented in the hole, so that no patch is used
everywhere: Granot et al., "Drop the GAN: In Defense of Patches Nearest Neighbors as Single Image Generative Models",
CVPR 2022. Beside the colours, each pixel has its texture attributes: Newson et al., "Video Inpainting of Complex
Scenes", SIAM Journal on Imaging Sciences 2014.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuralpatch_cuda import ops
from neuralpatch_cuda.networks.content import CONTENT_SIDE
from neuralpatch_cuda.synthesis.layout import dilate_cells
from neuralpatch_cuda.synthesis.pyramid import resize, scale_sizes, shrink

COARSEST = 32
"""Short side in pixels of the coarsest scale."""

ROUNDS = (8, 6, 4)
"""Matchings and votings of each scale, coarsest first; the last one is repeated."""

TEXTURE_WEIGHT = 5.0
"""Of the texture attributes, relative to the colours.

By colour alone, a smooth fill is best matched with smooth patches, and textures die out towards the middle.
"""

CONFIDENCE_DECAY = 1.5
"""How much less a pixel counts than its neighbour nearer to the known ones, in distances and in votes."""

FINE = 96
"""Short side in pixels from which patches step by 2 px, and a guess is no longer followed."""

LAYOUT_WIDTH = 3
"""Width in pixels of the squares whose mean colours are drawn to a guess's; odd."""

MOST_CANDIDATES = 8192
"""Known patches beyond this number, as in a long panorama, are thinned evenly, to bound memory and time."""


def smooth_fill(image: Tensor, hole: Tensor) -> Tensor:
    """Fill the hole (bool `[H, W]`) of `[C, H, W]` by averages of known pixels, from ever further away as it deepens.

    Push-pull: known pixels are averaged down to coarser and coarser grids until none has a gap, and each gap is
    filled by interpolating the coarser grid. With nothing known, the fill is 0.5.
    """
    if hole.all():
        return torch.full_like(image, 0.5)
    if not hole.any():
        return image
    known = (~hole).to(image.dtype)[None]
    half = (hole.shape[0] + 1) // 2, (hole.shape[1] + 1) // 2
    share = F.adaptive_avg_pool2d(known, half)
    coarse = F.adaptive_avg_pool2d(image * known, half) / share.clamp(min=1e-6)
    coarse = smooth_fill(coarse, share[0] == 0)
    return torch.where(hole, F.interpolate(coarse[None], hole.shape, mode="bilinear")[0], image)


def texture_attributes(image: Tensor, hole: Tensor) -> Tensor:
    """Mean magnitude of the horizontal and of the vertical differences of the known pixels around each pixel.

    Args:
        image: `[3, H, W]`; nothing is read inside the hole.
        hole: bool `[H, W]`.

    Returns:
        `[2, H, W]`, in [0, 1]; averages over 5 x 5 pixels.
    """
    attributes = []
    for dim in (1, 0):
        known = ~hole
        pair = known.narrow(dim, 1, known.shape[dim] - 1) & known.narrow(dim, 0, known.shape[dim] - 1)
        pad = (0, 1) if dim == 1 else (0, 0, 0, 1)
        magnitude = F.pad(image.diff(dim=dim + 1).abs().mean(0) * pair, pad)
        mean = F.avg_pool2d(torch.stack([magnitude, F.pad(pair.to(image), pad)])[None], 5, stride=1, padding=2)[0]
        attributes.append(mean[0] / mean[1].clamp(min=0.02))
    return torch.stack(attributes)


def depth(hole: Tensor) -> Tensor:
    """For each pixel of a bool `[H, W]` mask, its chessboard distance from the nearest False one; float32."""
    distance = hole.float()
    while hole.any() and not hole.all():
        hole = -F.max_pool2d(-hole.float()[None], 3, stride=1, padding=1)[0] > 0
        distance += hole
    return distance


def local_mean(image: Tensor, hole: Tensor, width: int) -> Tensor:
    """For each pixel of `[C, H, W]`, the mean over the hole's pixels in the square of odd `width` around it."""
    inside = hole.to(image.dtype)[None]
    total = F.avg_pool2d(torch.cat([image * inside, inside])[None], width, stride=1, padding=width // 2)[0]
    return total[:-1] / total[-1:].clamp(min=1e-6)


class ExemplarScale:
    """The hole of one scale, its patches and the candidates for them.

    The image has any number of channels. Patches lie on a grid of cells of `stride` x `stride` pixels, each cell
    taken as one pixel of `stride^2` times as many channels.
    """

    def __init__(self, image: Tensor, hole: Tensor, size: int, stride: int, completeness: float | None) -> None:
        """Collect the candidates.

        Args:
            image: `[C, H, W]`; H and W are multiples of the stride.
            hole: bool `[H, W]`.
            size: side of the patches in cells.
            stride: side of the cells in pixels.
            completeness: see `ExemplarContent`.
        """
        self._hole, self._size, self._stride, self._completeness = hole, size, stride, completeness
        cells = F.max_pool2d(hole[None].float(), stride)[0] > 0
        touched = dilate_cells(cells, size).flatten()
        self._shape = cells.shape
        self._query = touched.nonzero()[:, 0]
        self._key = (~touched).nonzero()[:, 0]
        self._key = self._key[:: -(-len(self._key) // MOST_CANDIDATES) or 1]
        self.solvable = len(self._query) > 0 and len(self._key) > 0
        """Whether there is a patch to fill, and a candidate for it: a patch that does not touch the hole."""
        if not self.solvable:
            return
        # Bounded, here and in `vote`, so that no weight vanishes: somewhere it may be all there is.
        confidence = CONFIDENCE_DECAY ** -depth(cells).clamp(max=30)
        weight = self._patches(confidence[None], 1)[self._query]  # [Nq, size^2]
        self._confidence = weight.mean(1)
        self._weight = weight / self._confidence[:, None]
        self._candidates = self._patches(image, stride)[self._key]
        deviation = self._candidates - self._candidates.mean(0)
        self._variance = deviation.square().mean().clamp(min=1e-6)
        self._candidates_squared = self._candidates.square().view(len(self._key), -1, size * size).sum(1)

    def _patches(self, image: Tensor, stride: int) -> Tensor:
        return ops.extract_patches(F.pixel_unshuffle(image[None], stride), self._size)[0]

    def distances(self, image: Tensor) -> Tensor:
        """Of each hole patch from each candidate: `[Nq, Nk]`.

            D[i, j] = sum_p w_i(p) |q_i(p) - k_j(p)|^2

        with weights w_i of mean 1 that fall with a cell's depth in the hole. The unit is the candidates' mean
        squared distance from their mean, so that it does not depend on the photograph's contrast.
        """
        query = self._patches(image, self._stride)[self._query].view(len(self._query), -1, self._size**2)
        weighted = query * self._weight[:, None]
        own = (weighted * query).sum((1, 2))[:, None]
        cross = torch.addmm(
            self._weight @ self._candidates_squared.T, weighted.flatten(1), self._candidates.T, alpha=-2
        )
        return cross.add_(own).clamp_(min=0) / (self._variance * self._candidates.shape[1])

    def choose(self, distance: Tensor) -> Tensor:
        """The number of each hole patch's candidate, int64 `[Nq]`.

            argmin_j D[i, j] / (completeness + min_i' D[i', j])

        or the plain minimum without completeness.
        """
        if self._completeness is not None:
            distance = distance / (self._completeness + distance.amin(0))
        return distance.argmin(1)

    def vote(self, chosen: Tensor, error: Tensor) -> Tensor:
        """Average the chosen candidates where they overlap, sure and similar ones more: `[C, H, W]`.

        A vote's weight is `exp(-D / (2 sigma)) c`, with sigma the third quartile of the chosen candidates' distances
        D, of which none counts as more than 20 sigma, and c the patch's mean confidence.
        """
        sigma = error.quantile(0.75).clamp(min=1e-6)
        weight = torch.exp(-(error / (2 * sigma)).clamp(max=10)) * self._confidence
        positions = (self._shape[0] - self._size + 1) * (self._shape[1] - self._size + 1)
        votes = torch.cat([self._candidates[chosen], torch.ones_like(self._weight)], 1) * weight[:, None]
        placed = votes.new_zeros(positions, votes.shape[1]).index_copy_(0, self._query, votes)
        total = F.fold(placed.T[None], self._shape, self._size)[0]
        return F.pixel_shuffle(total[:-1] / total[-1:].clamp(min=1e-20), self._stride)

    def refine(self, image: Tensor) -> Tensor:
        """Replace the hole of `[C, H, W]` by the votes of its patches' matches."""
        distance = self.distances(image)
        chosen = self.choose(distance)
        error = distance.gather(1, chosen[:, None])[:, 0]
        return torch.where(self._hole, self.vote(chosen, error), image)


class ExemplarContent(nn.Module):
    """Predicts the pixels of a hole from the patches around it; a `ContentNetwork` that needs no training.

    Deterministic. Meant for a short side of about 128 px: time grows with the square of the number of pixels.
    """

    side = CONTENT_SIDE

    def __init__(self, completeness: float | None = 0.2) -> None:
        """Set up.

        Args:
            completeness: alpha in the denominator of a candidate's distance, `alpha + its least distance from any
                hole patch`, in units of the candidates' variance. Smaller uses more of the photograph, and is
                sharper and less faithful; None weights all candidates alike.
        """
        super().__init__()
        self.completeness = completeness

    @torch.no_grad()
    def forward(self, image: Tensor, mask: Tensor, guess: Tensor | None = None, trust: Tensor | None = None) -> Tensor:
        """Fill the hole.

        Args:
            image: `[B, 3, H, W]`, float, RGB in [0, 1]; values inside the hole are ignored.
            mask: `[B, 1, H, W]`, same dtype, 1 inside the hole and 0 outside.
            guess: `[B, 3, H, W]`: what the hole looks like from afar. Before each matching at the coarse scales, local
                mean colours are drawn to the guess's. The finest scale is left to the patches, so that what is seen
                up close is all from the photograph.
            trust: `[B, 1, H, W]`, in [0, 1]: how far they are drawn; all the way if None.

        Returns:
            `[B, 3, H, W]`, in [0, 1] as the image: the hole replaced by the prediction, known pixels passed through.
            Where no patch is free of the hole, the prediction is the smooth fill, drawn to the guess.
        """
        layouts: list[Tensor | None] = [None] * len(image)
        if guess is not None:
            trust = torch.ones_like(mask) if trust is None else trust
            layouts = list(torch.cat([guess, trust], 1).float())
        holes = mask[:, 0] > 0
        filled = [self._fill(*each) for each in zip(image.float(), holes, layouts, strict=True)]
        return torch.where(mask > 0, torch.stack(filled).to(image.dtype), image)

    def _fill(self, image: Tensor, hole: Tensor, layout: Tensor | None) -> Tensor:
        """One image, `[3, H, W]`, its hole, bool `[H, W]`, and the guess with its trust, `[4, H, W]`."""
        image = image.masked_fill(hole, 0)
        image = torch.cat([image, TEXTURE_WEIGHT * texture_attributes(image, hole)]).masked_fill(hole, 0)
        x = None
        height, width = hole.shape
        for scale, size in enumerate(scale_sizes(height, width, coarsest=COARSEST)):
            known, gap = shrink(image, hole, size)
            x = smooth_fill(known, gap) if x is None else torch.where(gap, resize(x, size), known)
            followed = None if layout is None or min(size) >= FINE else resize(layout, size)
            x = self._refine(x, gap, ROUNDS[min(scale, len(ROUNDS) - 1)], followed)
        assert x is not None
        return x[:3].clamp(0, 1)

    def _refine(self, image: Tensor, hole: Tensor, rounds: int, layout: Tensor | None) -> Tensor:
        height, width = hole.shape
        # Patches are 7 or 8 px wide; on the finest scale, a step of 2 px leaves a sixteenth of the pairs to compare.
        size, stride = (7, 1) if min(height, width) < FINE else (4, 2)
        pad = (0, -width % stride, 0, -height % stride)
        x = F.pad(image[None], pad, mode="replicate")[0]
        scale = ExemplarScale(x, F.pad(hole, pad, value=True), size, stride, self.completeness)
        for _ in range(rounds):
            if layout is not None:
                guess, trust = layout[:3], layout[3]
                step = local_mean(guess - x[:3], hole, LAYOUT_WIDTH)
                x = torch.cat([x[:3] + hole * trust * step, x[3:]])
            if scale.solvable:
                x = scale.refine(x)
        return x[:, :height, :width]


class CombinedContent(nn.Module):
    """A content network's layout where it is sure, the exemplar's elsewhere, in patches of the photograph.

    The network knows what scenes look like and is blurred; the exemplar is sharp and knows this photograph only.
    The network is wrong by as much as it is blurred. So it overrules the exemplar where the two are further apart than
    that; where they are not, the exemplar's is the better for its sharpness. What the network says of the mirrored
    image tells less of its errors than the exemplar does.
    """

    side = CONTENT_SIDE
    ERROR = 0.1
    """Of the network's predictions: root mean square over the pixels and channels of a neighbourhood."""
    NEIGHBOURHOOD = 9
    """Width in pixels of the squares over which the two are compared; odd."""

    def __init__(self, network: nn.Module, exemplar: ExemplarContent) -> None:
        """Combine a `ContentNetwork`, or what is called like one, and an exemplar."""
        super().__init__()
        self.network, self.exemplar = network, exemplar

    @torch.no_grad()
    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole; arguments and result as those of `ExemplarContent` without a guess."""
        guess = self.network(image, mask).clamp(0, 1)
        filled: Tensor = self.exemplar(image, mask)
        filled = self.exemplar(image, mask, guess, self.trust(guess, filled, mask))
        return filled

    def trust(self, guess: Tensor, filled: Tensor, mask: Tensor) -> Tensor:
        """How sure the network is that the exemplar is wrong, `[B, 1, H, W]`.

            1 - exp(-d^2 / ERROR^2)

        with d the root mean square of the difference of the two in a neighbourhood.
        """
        squared = (guess - filled).square().mean(1, keepdim=True)
        near = [
            local_mean(each, hole[0], self.NEIGHBOURHOOD) for each, hole in zip(squared.float(), mask > 0, strict=True)
        ]
        return 1 - torch.exp(-torch.stack(near) / self.ERROR**2)
