import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.data.labelled import draw_labelled
from vae_jax.errors import UserError

LABELS = np.random.default_rng(0).integers(0, 4, 200).astype(np.int32)


@given(st.integers(4, 100), st.integers(0, 1000))
@settings(max_examples=25)
def test_a_draw_is_balanced_in_order_and_part_of_a_larger_one(num, seed):
    chosen = draw_labelled(LABELS, num, seed)
    assert len(set(chosen.tolist())) == len(chosen) == num
    assert (np.diff(chosen) > 0).all()
    sizes = np.bincount(LABELS[chosen], minlength=4)
    assert sizes.max() - sizes.min() <= 1
    larger = draw_labelled(LABELS, num // 4 * 4 + 8, seed)
    assert set(draw_labelled(LABELS, num // 4 * 4, seed)) <= set(larger)


def test_the_seed_decides_and_all_is_all():
    first, second = (draw_labelled(LABELS, 20, seed) for seed in (0, 1))
    np.testing.assert_array_equal(first, draw_labelled(LABELS, 20, 0))
    assert (first != second).any()
    np.testing.assert_array_equal(draw_labelled(LABELS, 200, 0), np.arange(200))


@pytest.mark.parametrize(
    ("num", "message"),
    [
        (201, "data.labelled=201 is more than the 200 training examples"),
        (3, "data.labelled=3 leaves a class without a label; use at least 4"),
        (199, "data.labelled=199 takes .* examples of each class, and class"),
    ],
)
def test_draws_that_cannot_be_are_refused(num, message):
    with pytest.raises(UserError, match=message):
        draw_labelled(LABELS, num, 0)
