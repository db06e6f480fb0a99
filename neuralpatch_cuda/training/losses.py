"""What the content network is trained to minimise, and the discriminator.

    G:  l2 * L2 + l1 * L1 + adversarial * A + feature_matching * M + perceptual * P
    D:  mean softplus(D(filled) - D(photograph)) + gradient_penalty * R

A is softplus(D(photograph) - D(filled)): the authors' binary cross entropy, of each patch and its counterpart in the
photograph instead of either alone (Jolicoeur-Martineau, 2019), which with the penalty R on the discriminator's
gradient at both converges (Huang et al., "The GAN is dead; long live the GAN!", 2024). L2 counts the band along the
hole's edge more (Pathak et al., 2016). Every mean over pixels or patches is over the hole's, first in each image and
then over the images, so that a small hole counts as a large one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from neuralpatch_cuda.networks.texture import TextureNetwork


def mean_in(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over images of the weighted mean over pixels and channels: `[B, C, H, W]` and `[B, 1, H, W]`."""
    weight = weight.float()
    total = (values.float().mean(1, keepdim=True) * weight).sum((1, 2, 3))
    return (total / weight.sum((1, 2, 3)).clamp(min=1e-6)).mean()


def pixel_weight(mask: Tensor, overlap: int, overlap_weight: float) -> Tensor:
    """1 in the hole, `overlap_weight` in its band of `overlap` px along known pixels: `[B, 1, H, W]`."""
    if overlap == 0 or overlap_weight == 1:
        return mask
    near_known = F.max_pool2d(1 - mask, 2 * overlap + 1, stride=1, padding=overlap)
    return mask * (1 + (overlap_weight - 1) * near_known)


def squared_error(prediction: Tensor, image: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the squared error; prediction and image `[B, 3, H, W]`, weight `[B, 1, H, W]`."""
    return mean_in((prediction.float() - image).square(), weight)


def log_squared_error(prediction: Tensor, image: Tensor, weight: Tensor) -> Tensor:
    """Mean over images of `log(squared error + 0.001)`: PSNR turned around, so that easy images count as hard ones do.

    The constant keeps holes of a single colour, whose error vanishes, from taking all of the gradient.
    """
    error = ((prediction.float() - image).square().mean(1, keepdim=True) * weight).sum((1, 2, 3))
    return torch.log(error / weight.sum((1, 2, 3)).clamp(min=1e-6) + 1e-3).mean()


def absolute_error(prediction: Tensor, image: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the absolute error."""
    return mean_in((prediction.float() - image).abs(), weight)


def perceptual_distance(texture: TextureNetwork, prediction: Tensor, image: Tensor) -> Tensor:
    """Mean over VGG's layers of the absolute distance of the features, relative to their mean magnitude."""
    with torch.no_grad():
        wanted = texture(image)
    found = texture(prediction)
    distances = [
        F.l1_loss(found[layer].float(), wanted[layer].float()) / wanted[layer].float().abs().mean() for layer in wanted
    ]
    return torch.stack(distances).mean()


def adversarial_loss(preferred: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy of taking the preferred patches for more real than their counterparts.

    Args:
        preferred: logits `[B, 1, h, w]`: the photograph's for the discriminator, the filled hole's for the generator.
        other: those of the same patches of the other image.
        weight: `[B, 1, h, w]`.
    """
    return mean_in(F.softplus(other - preferred), weight)


def gradient_penalty(logits: Tensor, weight: Tensor, images: Tensor) -> Tensor:
    """Mean over images of the squared gradient of the summed verdicts, per patch (Mescheder et al., 2018).

    Args:
        logits: the discriminator's, `[B, 1, h, w]`.
        weight: `[B, 1, h, w]`.
        images: what it judged, `[B, 3, H, W]`, requiring gradients.
    """
    (gradient,) = torch.autograd.grad((logits * weight).sum(), images, create_graph=True)
    return (gradient.float().square().sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1e-6)).mean()


def feature_distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean over the discriminator's layers of the absolute distance of its activations (Salimans et al., 2016)."""
    distances = [F.l1_loss(a.float(), b.float().detach()) for a, b in zip(found, wanted, strict=True)]
    return torch.stack(distances).mean()
