from __future__ import annotations

import numpy as np
import pytest

from neuralpatch_cuda.training.masks import LARGEST_SHARE, MASK_KINDS, SHARES, centre_mask, mask_of, random_mask


def test_centre_mask() -> None:
    mask = centre_mask(128, 64)
    assert mask.sum() == 64 * 64 and mask[32:96, 32:96].all()


@pytest.mark.parametrize("kind", [kind for kind in MASK_KINDS if kind != "centre"])
def test_masks_depend_on_the_generator_alone(kind: str) -> None:
    first, again, other = (mask_of(kind, 128, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.shape == (128, 128) and first.dtype == np.bool_ and first.any()
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_masks_leave_something_known(kind: str) -> None:
    rng = np.random.default_rng(0)
    shares = [mask_of(kind, 64, rng).mean() for _ in range(200)]
    assert min(shares) > 0 and max(shares) <= LARGEST_SHARE


def test_free_form_holes_grow_from_thin_to_thick() -> None:
    """By the share of the hole that is further than two pixels from what is known."""

    def inner_share(kind: str) -> float:
        rng = np.random.default_rng(0)
        shares = []
        for _ in range(100):
            mask = mask_of(kind, 128, rng)
            inner = mask.copy()
            for axis in (0, 1):
                for shift in (-2, -1, 1, 2):
                    inner &= np.roll(mask, shift, axis)
            shares.append(inner.sum() / mask.sum())
        return float(np.mean(shares))

    thin, medium, thick = map(inner_share, ("thin", "medium", "thick"))
    assert thin < medium - 0.1 < thick - 0.2


def test_training_sees_every_kind_as_often_as_it_says() -> None:
    assert SHARES.keys() == MASK_KINDS.keys()
    assert sum(SHARES.values()) == pytest.approx(1)
    rng = np.random.default_rng(0)
    masks = [random_mask(64, rng) for _ in range(400)]
    centred = sum((mask == centre_mask(64, 32)).all() for mask in masks)
    assert 130 <= centred <= 190  # of 160 expected; six deviations are 59
