import numpy as np
import pytest

from neuralpatch_cuda.training.masks import box_mask, centre_mask, random_mask, stroke_mask


def test_centre_mask() -> None:
    mask = centre_mask(128, 64)
    assert mask.sum() == 64 * 64 and mask[32:96, 32:96].all()


@pytest.mark.parametrize("make", [box_mask, stroke_mask, random_mask])
def test_masks_depend_on_the_generator_alone(make) -> None:  # type: ignore[no-untyped-def]
    first, again, other = (make(128, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.shape == (128, 128) and first.dtype == np.bool_ and first.any()
    assert (first == again).all() and (first != other).any()


def test_random_masks_leave_something_known_and_are_of_every_kind() -> None:
    rng = np.random.default_rng(0)
    masks = [random_mask(64, rng) for _ in range(300)]
    shares = np.array([mask.mean() for mask in masks])
    assert shares.min() > 0 and shares.max() <= 0.6
    centred = sum((mask == centre_mask(64, 32)).all() for mask in masks)
    assert 60 <= centred <= 150
