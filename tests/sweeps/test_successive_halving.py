import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_jax.sweeps.successive_halving import survivors

NUMBERS = st.floats(allow_nan=False)
ANY = st.one_of(st.just(math.nan), st.integers(0, 5).map(float), NUMBERS)
VALUES = st.dictionaries(st.integers(0, 99), ANY, max_size=12)
RIVALS = st.lists(ANY, max_size=12)
REDUCTIONS = st.sampled_from([1.5, 2.0, 3.0, 4.0])


def better(a, b, maximize):
    """Return whether the first value is strictly better."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(b) and not math.isnan(a)
    return a > b if maximize else a < b


@given(VALUES, RIVALS, REDUCTIONS, st.booleans())
def test_a_trial_goes_on_if_fewer_than_the_best_few_are_better(values, rivals, reduction, maximize):
    everyone = [*values.values(), *rivals]
    keep = max(1, math.floor(len(everyone) / reduction))
    numbers = any(not math.isnan(value) for value in everyone)
    expected = {
        number
        for number, value in values.items()
        if sum(better(other, value, maximize) for other in everyone) < keep
        and not (numbers and math.isnan(value))
    }
    assert survivors(values, rivals, reduction, maximize) == expected


@given(VALUES, RIVALS, REDUCTIONS)
def test_to_maximise_is_to_minimise_the_negative(values, rivals, reduction):
    turned = {number: -value for number, value in values.items()}
    assert survivors(values, rivals, reduction, True) == survivors(
        turned, [-value for value in rivals], reduction, False
    )


@given(st.dictionaries(st.integers(0, 99), ANY, min_size=1), REDUCTIONS, st.booleans())
def test_without_rivals_at_least_one_trial_goes_on(values, reduction, maximize):
    assert survivors(values, [], reduction, maximize)


@pytest.mark.parametrize(
    ("values", "rivals", "expected"),
    [
        ({}, [1.0, 2.0], set()),
        ({0: 1.0}, [], {0}),
        ({0: math.nan}, [], {0}),
        ({0: math.nan, 1: math.nan}, [], {0, 1}),
        ({0: math.nan}, [-math.inf], set()),
        ({0: 3.0, 1: 2.0, 2: 1.0}, [], {0}),
        ({0: 3.0, 1: 3.0, 2: 1.0}, [], {0, 1}),
        ({0: 3.0, 1: 2.0, 2: 1.0}, [0.0, 0.0, 0.0], {0, 1}),
        ({0: 3.0, 1: 2.0, 2: 1.0}, [9.0], set()),
        ({0: 1.0}, [math.nan] * 8, {0}),
    ],
)
def test_a_third_goes_on(values, rivals, expected):
    assert survivors(values, rivals, 3.0, True) == expected
