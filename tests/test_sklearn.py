import pickle

import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from vae_jax.sklearn import VAETransformer, mixed_columns

RNG = np.random.default_rng(0)


def low_rank(num=400, features=8, noise=0.2):
    """Return rows with two factors of variance 9 and noise, far from the origin."""
    directions = np.linalg.qr(RNG.normal(size=(features, 2)))[0]
    return (
        3 * RNG.normal(size=(num, 2)) @ directions.T + noise * RNG.normal(size=(num, features)) + 50
    )


ROWS = low_rank()


def tiny(**changes):
    return VAETransformer(**{"widths": (4,), "epochs": 1, "random_state": 0, **changes})


@pytest.fixture(scope="module")
def fitted():
    settings = {"widths": (32,), "epochs": 120, "batch_size": 50, "learning_rate": 1e-2}
    return VAETransformer(2, random_state=0, **settings).fit(ROWS)


# The default likelihood passes all checks of scikit-learn, without an exception.
@pytest.mark.slow  # about fifty, most of which compile an epoch for data of other shapes
@parametrize_with_checks([tiny()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


# Checks of parameters, arguments and tags, which are the same code for columns: each would compile
# a program for its data.
COMMON = {
    "check_dont_overwrite_parameters",
    "check_estimators_overwrite_params",
    "check_fit_check_is_fitted",
    "check_fit_score_takes_y",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
}


def checks_of_columns():
    checks = [check for _, check in estimator_checks_generator(tiny(likelihood="columns"))]
    assert {check.func.__name__ for check in checks} > COMMON
    # Some checks come twice, with other options.
    return [
        pytest.param(check, id="-".join([check.func.__name__, *check.keywords]))
        for check in checks
        if check.func.__name__ not in COMMON
    ]


@pytest.mark.parametrize("check", checks_of_columns())
def test_cells_of_columns_pass_scikit_learns_own_checks_of_data(check):
    check(tiny(likelihood="columns"))


def test_a_round_trip_loses_little_more_than_that_of_pca(fitted):
    pca = PCA(2).fit(ROWS)

    def error(model):
        return np.square(model.inverse_transform(model.transform(ROWS)) - ROWS).mean()

    assert error(fitted) < 1.5 * error(pca)
    assert error(fitted) < 0.05 * ROWS.var(axis=0).mean()


def test_the_score_is_a_bound_close_below_the_log_likelihood_of_the_linear_model(fitted):
    # For data of the linear model, PCA's score is nearly optimal, and in the same units.
    best = PCA(2).fit(ROWS).score(ROWS)
    assert best - 2 < fitted.score(ROWS) < best + 0.1
    assert fitted.score_samples(ROWS).shape == (400,)
    assert fitted.score_samples(ROWS[:1] + 30)[0] < fitted.score_samples(ROWS).min()
    assert fitted.losses_[-1] < fitted.losses_[0] - 1


def test_the_score_is_in_the_units_of_the_data():
    scores = [tiny().fit(unit * ROWS).score(unit * ROWS) for unit in (1.0, 1000.0)]
    assert scores[1] == pytest.approx(scores[0] - 8 * np.log(1000), abs=1e-2)


def test_it_is_pickled_and_cloned(fitted):
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.transform(ROWS), fitted.transform(ROWS))
    again = clone(fitted)
    assert again.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        again.transform(ROWS)


def test_the_random_state_decides_on_the_result():
    first, same, other = (tiny(random_state=seed).fit_transform(ROWS) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_parameters_set_after_fitting_do_not_change_the_fitted_model():
    model = tiny().fit(ROWS)
    before = model.transform(ROWS)
    model.set_params(widths=(3,), n_components=5, likelihood="bernoulli")
    np.testing.assert_array_equal(model.transform(ROWS), before)
    assert list(model.get_feature_names_out()) == ["vaetransformer0", "vaetransformer1"]


def test_it_replaces_pca_in_a_pipeline():
    images, digits = load_digits(return_X_y=True)
    vae = VAETransformer(
        8, likelihood="bernoulli", widths=(64,), epochs=15, batch_size=32, random_state=0
    )
    pipeline = make_pipeline(vae, LogisticRegression(max_iter=2000))
    pipeline.fit(images[:900] / 16, digits[:900])
    assert pipeline.score(images[900:] / 16, digits[900:]) > 0.6
    restored = vae.inverse_transform(vae.transform(images[:5] / 16))
    assert restored.shape == (5, 64)
    assert 0 <= restored.min() <= restored.max() <= 1


def test_a_search_over_its_parameters_works():
    space = {"n_components": np.arange(2, 3), "beta": np.array([0.5, 1.0])}
    search = GridSearchCV(tiny(), space, cv=2, refit=False).fit(ROWS)
    first, second = search.cv_results_["mean_test_score"]
    assert np.isfinite([first, second]).all()
    assert first != second


def test_several_batches_of_rows_stay_in_order(fitted):
    many = np.concatenate([ROWS] * 6)
    np.testing.assert_allclose(fitted.transform(many)[-400:], fitted.transform(ROWS), atol=1e-4)


def test_constant_features_and_few_rows_are_accepted():
    rows = np.ones((3, 4))
    model = tiny().fit(rows)
    assert np.isfinite(model.inverse_transform(model.transform(rows))).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_components": 0}, "n_components=0 must be an integer of at least 1"),
        ({"n_components": 1.5}, r"n_components=1\.5 must be an integer"),
        ({"widths": ()}, r"widths=\(\) must be a tuple of one or more positive integers"),
        ({"widths": 400}, "widths=400 must be a tuple"),
        ({"beta": -1.0}, r"beta=-1\.0 must be a number of at least 0"),
        ({"epochs": 0}, "epochs=0 must be an integer"),
        ({"batch_size": 0}, "batch_size=0 must be an integer"),
        ({"learning_rate": 0.0}, r"learning_rate=0\.0 must be a number above 0"),
        ({"learning_rate": 1e30}, r"not finite with learning_rate=1e\+30; use a lower one"),
        (
            {"likelihood": "poisson"},
            "likelihood='poisson' must be 'bernoulli', 'columns' or 'normal'",
        ),
        ({"columns": {0: "real"}}, "are kinds for likelihood='columns', not 'normal'"),
        ({"likelihood": "bernoulli"}, "where likelihood='bernoulli' is defined; use 'normal'"),
    ],
)
def test_invalid_parameters_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes).fit(ROWS)


def test_rows_a_hair_outside_of_a_scaler_s_range_are_clipped_with_a_warning():
    scaler = MinMaxScaler().fit(ROWS[:200])
    model = tiny(likelihood="bernoulli").fit(scaler.transform(ROWS[:200]))
    rows = scaler.transform(ROWS)
    assert rows.max() > 1
    for function in (model.transform, model.score_samples):
        with pytest.warns(UserWarning, match=r"clipped to \[0, 1\].*MinMaxScaler\(clip=True\)"):
            found = function(rows)
        np.testing.assert_array_equal(found, function(np.clip(rows, 0, 1)))
    with pytest.raises(ValueError, match="use 'normal', or MinMaxScaler before it"):
        model.transform(255 * rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((5, 8), np.nan), "contains NaN"),
        (np.full((5, 8), np.inf), "contains infinity"),
        (np.zeros((0, 8)), "0 sample"),
        (np.zeros((1, 8)), "minimum of 2 is required"),
        (np.zeros(8), "Expected 2D array"),
        (np.array([["a", "b"], ["c", "d"]]), "could not convert string"),
    ],
)
def test_invalid_rows_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        tiny().fit(rows)


def test_rows_and_latents_of_another_size_are_refused(fitted):
    for call in (fitted.transform, fitted.score):
        with pytest.raises(ValueError, match="X has 7 features, but VAETransformer is expecting 8"):
            call(ROWS[:, :7])
    with pytest.raises(ValueError, match="X has 3 latents, but VAETransformer was fitted with"):
        fitted.inverse_transform(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="contains NaN"):
        fitted.inverse_transform(np.full((2, 2), np.nan))


def mixed_rows(num=60):
    """Return rows of a number, a text, a count and a positive number, three cells empty."""
    rng = np.random.default_rng(1)
    group = rng.integers(0, 2, num)
    rows = np.empty((num, 4), object)
    rows[:, 0] = rng.normal(40 + 20 * group, 2)
    rows[:, 1] = np.array(["no", "yes"])[group]
    rows[:, 2] = rng.poisson(3 + 5 * group)
    rows[:, 3] = np.exp(rng.normal(3 * group, 1))
    rows[0, 0], rows[1, 1], rows[2, 2] = np.nan, None, float("nan")
    return rows


MIXED = mixed_rows()


def of_columns(**changes):
    return tiny(**{"likelihood": "columns", "n_components": 1, **changes})


def test_columns_of_mixed_kinds_are_learned_in_their_own_units():
    settings = {"widths": (32,), "epochs": 150, "batch_size": 20, "learning_rate": 1e-2}
    model = of_columns(**settings).fit(MIXED)
    assert model.kinds_ == ("real", "binary", "count", "positive")
    latents = model.transform(MIXED)
    assert latents.shape == (60, 1)
    restored = model.inverse_transform(latents)
    assert restored.dtype == object
    full = np.arange(60) > 2
    assert (restored[full, 1] == MIXED[full, 1]).mean() > 0.9
    error = np.abs((restored[full, 0] - MIXED[full, 0]).astype(float)).mean()
    assert error < 5
    assert model.losses_[-1] < model.losses_[0] - 1
    # A row without one of its cells has a likelihood of the others.
    assert np.isfinite(model.score_samples(MIXED)).all()


def test_given_kinds_of_columns_by_name_or_index():
    told = of_columns(columns={2: "real", "x3": "real"}).fit(MIXED)
    assert told.kinds_ == ("real", "binary", "real", "real")
    of_numbers = tiny(likelihood="columns").fit(ROWS)
    assert of_numbers.kinds_ == ("real",) * 8
    decoded = of_numbers.inverse_transform(of_numbers.transform(ROWS))
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(
        of_columns().fit(MIXED.tolist()).transform(MIXED.tolist()),
        of_columns().fit(MIXED).transform(MIXED),
    )


def test_a_frame_has_columns_by_name():
    frame = pandas.DataFrame(MIXED, columns=["age", "vip", "visits", "income"])
    frame["visits"] = pandas.array([None if x != x else x for x in MIXED[:, 2]], dtype="Int64")
    frame["vip"] = pandas.Categorical(frame["vip"])
    model = of_columns(columns={"visits": "real", "income": "real"}).fit(frame)
    assert model.kinds_ == ("real", "binary", "real", "real")
    by_index = of_columns(columns={2: "real", 3: "real"}).fit_transform(MIXED)
    np.testing.assert_array_equal(model.transform(frame), by_index)


def with_cells(column, values):
    rows = MIXED.copy()
    rows[:, column] = values
    return rows


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (MIXED, {"x9": "real"}, r"columns={'x9': 'real'} names no feature of x0, x1, x2, x3"),
        (MIXED, {7: "real"}, "names no feature"),
        (MIXED, {0: "reel"}, "must be one of real, positive, count, binary, category, exposure"),
        (MIXED, {0: "count"}, "column 'x0': .*, where values of kind count are whole numbers"),
        (MIXED, {1: "count"}, "column 'x1' holds 'no' in row 1, where values of kind count"),
        (MIXED, {0: "exposure", 3: "exposure"}, "at most one exposure"),
        (MIXED, "real", "columns='real' must be kinds by feature, or None"),
        (with_cells(0, np.nan), None, "column 'x0' is empty; leave it out"),
        (with_cells(1, "a"), None, "column 'x1' is a in every row; leave it out"),
        (with_cells(0, 2.5), None, "column 'x0' is 2.5 in every row; leave it out"),
        (with_cells(0, [1e39, *[0.5] * 59]), None, r"'x0': 1e\+39, .* the largest of float32"),
        (with_cells(3, [1e-50, *[0.5] * 59]), {3: "positive"}, "'x3': 1e-50, .* numbers from 1.2e"),
        (with_cells(0, 1.7e9 + np.arange(60)), None, "'x0': 60 different values .* an offset"),
        (with_cells(2, 2**60 + np.arange(60)), None, "'x2' holds 60 different texts in 60 rows"),
        (with_cells(2, 2**60 + np.arange(60)), {2: "real"}, "'x2' holds 1152921504606846977 in"),
        (with_cells(1, ["1", "1,5", "2"] * 20), None, "'x1' holds numbers with a comma, .* '1,5'"),
        (with_cells(1, [f"n{i}" for i in range(60)]), None, "holds 60 different texts in 60 rows"),
    ],
)
def test_invalid_columns_are_refused(rows, columns, message):
    with pytest.raises(ValueError, match=message):
        of_columns(columns=columns).fit(rows)


def test_categories_of_numbers_keep_all_of_their_digits():
    digits = ["0.12345671", "0.12345672", "0.12345673"]
    rows = np.array([[number, 1.5 + i] for i, number in enumerate(map(float, digits))] * 20)
    model = of_columns(columns={0: "category"}).fit(rows)
    assert model._architecture.columns[0].column.values == tuple(digits)
    padded = np.array([["01", 1.5], ["1", 2.5], ["001", 4.5]] * 20, object)
    shape, encoded = mixed_columns.fit(padded, ["x0", "x1"], {})
    np.testing.assert_array_equal(mixed_columns.decode(shape, encoded)[:, 0], padded[:, 0])


@pytest.mark.parametrize("likelihood", ["normal", "columns"])
def test_numbers_that_float32_does_not_hold_are_refused(likelihood):
    with pytest.raises(ValueError, match="float32"):
        tiny(likelihood=likelihood).fit(ROWS * 1e200)
    model = tiny(likelihood=likelihood).fit(ROWS)
    for value in (1e39, 1e30):
        rows = ROWS[:3].copy()
        rows[1, 2] = value
        with pytest.raises(ValueError, match="float32"):
            model.score_samples(rows)


def test_the_scale_of_the_smallest_numbers_is_not_0():
    model = tiny().fit(ROWS * 1e-200)
    assert model.scale_ > 0
    assert np.isfinite(model.transform(ROWS * 1e-200)).all()
    assert 0 < model.scale_ < 1e-190


def test_cells_that_no_column_has_are_refused_after_fitting():
    model = of_columns().fit(MIXED)
    with pytest.raises(ValueError, match=r"column 'x1' holds 'maybe' in row 1, .* none of no, yes"):
        model.transform(with_cells(1, "maybe"))
    with pytest.raises(ValueError, match="column 'x3': -1, where values of kind positive"):
        model.transform(with_cells(3, -1.0))
    with pytest.raises(ValueError, match="X has 3 features"):
        model.transform(MIXED[:, :3])
