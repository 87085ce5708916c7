import pickle

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.utils.estimator_checks import parametrize_with_checks

from vae_jax.sklearn import VAEImputer

RNG = np.random.default_rng(0)


def table(num=300):
    """Return rows of six features with one factor, and the rows with 30 % of the cells missing."""
    factor = RNG.normal(size=(num, 1))
    rows = factor * [1, -2, 0.5, 3, 1, -1] + 0.2 * RNG.normal(size=(num, 6)) + 10
    return rows, np.where(RNG.random(rows.shape) < 0.3, np.nan, rows)


ROWS, HOLES = table()


def tiny(**changes):
    settings = {"n_components": 2, "widths": (4,), "num_samples": 2, "epochs": 1}
    return VAEImputer(**{**settings, "num_imputation_samples": 10, "random_state": 0, **changes})


@pytest.fixture(scope="module")
def fitted():
    settings = {"n_components": 1, "widths": (32,), "epochs": 60, "num_samples": 5}
    return VAEImputer(
        **settings, learning_rate=5e-3, num_imputation_samples=200, random_state=0
    ).fit(HOLES)


@pytest.fixture(scope="module")
def tiny_fitted():
    return tiny().fit(HOLES)


# All checks of scikit-learn, without an exception.
@pytest.mark.slow  # about fifty, most of which compile an epoch for data of other shapes
@parametrize_with_checks([tiny()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_missing_cells_are_filled_better_than_by_the_mean_and_others_stay(fitted):
    filled, missing = fitted.transform(HOLES), np.isnan(HOLES)
    np.testing.assert_array_equal(filled[~missing], HOLES[~missing])
    by_mean = SimpleImputer().fit_transform(HOLES)

    def error(found):
        return np.square((found - ROWS) / ROWS.std(axis=0))[missing].mean()

    assert error(filled) < 0.35 * error(by_mean)


def test_intervals_of_draws_hold_the_cells(fitted):
    draws, missing = fitted.sample(HOLES, 100), np.isnan(HOLES)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    inside = ((low <= ROWS) & (high >= ROWS))[missing].mean()
    assert 0.75 < inside <= 0.98
    assert np.array_equal(draws[0][~missing], HOLES[~missing])


def test_rows_do_not_depend_on_others_and_it_is_pickled(fitted):
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.transform(HOLES)[:5], fitted.transform(HOLES[:5]))


def test_features_that_are_empty_or_constant_are_filled():
    rows = HOLES.copy()
    rows[:, 0], rows[::2, 1], rows[1::2, 1] = np.nan, np.nan, 7
    filled = tiny().fit_transform(rows)
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled[::2, 1], 7, atol=3)


def test_wrong_parameters_are_refused(tiny_fitted):
    for name, value in (("likelihood", "poisson"), ("epochs", 0), ("num_imputation_samples", 0)):
        with pytest.raises(ValueError, match=f"{name}={value!r} must be"):
            tiny(**{name: value}).fit(HOLES)
    for num in (-1, 0, 2.5, True, "2", None):
        with pytest.raises(ValueError, match=f"num={num!r} must be an integer of at least 1"):
            tiny_fitted.sample(HOLES, num)
    assert tiny_fitted.sample(HOLES[:4], np.int64(20)).shape == (20, 4, 6)


def test_numbers_that_float32_does_not_hold_are_refused(tiny_fitted):
    too_large = r"Input X contains infinity or a value too large for dtype\('float32'\)"
    with pytest.raises(ValueError, match=too_large):
        tiny().fit(HOLES * 1e200)
    for value, message in ((1e39, too_large), (-1e300, too_large), (1e25, "so far from the data")):
        rows = HOLES[:4].copy()
        rows[1] = value
        rows[1, 0] = np.nan
        for call in (tiny_fitted.transform, tiny_fitted.sample):
            with pytest.raises(ValueError, match=message):
                call(rows)


def test_numbers_keep_their_digits_far_from_0_and_close_to_it():
    for scale, offset in ((1, 1.7e9), (1e37, 0), (1e-30, 0), (1e-200, 0)):
        filled = tiny().fit(HOLES * scale + offset).transform(HOLES * scale + offset)
        deviations = (filled - offset) / scale
        assert np.abs(deviations[np.isnan(HOLES)] - 10).max() < 20
