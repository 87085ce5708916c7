"""Models of some columns of a row given others: features, likelihood, draws, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_rows import COLUMNS, ROWS, with_holes

from vae_jax.data import columns
from vae_jax.data.columns import Column
from vae_jax.errors import UserError
from vae_jax.models.column_conditions import ColumnsConditionSettings, RowCompletion
from vae_jax.models.imputation import impute
from vae_jax.models.rows import ColumnsSettings
from vae_jax.models.vae import ConditionalVAE, VAESettings
from vae_jax.networks.mlp import MLPEncoderSettings, MLPSettings
from vae_jax.objectives.bounds import elbo_terms

GIVEN = (0, 4)
SEEN = ("plan", "size")


def build(rows=ROWS, given=SEEN, **settings):
    shape = columns.fit(COLUMNS, rows, "rows")
    layers = MLPSettings(widths=(4,))
    vae = VAESettings(
        latent_size=2,
        encoder=MLPEncoderSettings(widths=(4,)),
        likelihood=ColumnsSettings(**settings),
        condition=ColumnsConditionSettings(given, joint=layers, prior_layers=layers),
    )
    model = vae.build(shape, jnp.zeros(shape), rngs=nnx.Rngs(0))
    assert isinstance(model, ConditionalVAE)
    return model, shape


def changed(rows, indices):
    """Return rows with other values in some columns."""
    other = rows.copy()
    other[:, 0, indices] = np.roll(rows, 1, axis=0)[:, 0, indices]
    return other


def test_features_are_those_of_the_named_columns_in_the_order_of_the_table():
    model, shape = build(with_holes(ROWS, 0))
    rows = with_holes(ROWS, 0)
    found = np.asarray(model.condition(jnp.asarray(rows), model.likelihood))
    # Size, three plans, and the mask of size, which training rows lack.
    assert found.shape == (40, 5)
    fitted = shape.columns[0]
    np.testing.assert_allclose(
        found[1::2, 0], (ROWS[1::2, 0, 0, 0] - fitted.center) / fitted.scale, rtol=1e-4
    )
    np.testing.assert_array_equal(found[::2, 0], 0)
    np.testing.assert_array_equal(found[:, 1:4].argmax(axis=1), ROWS[:, 0, 4, 0])
    np.testing.assert_array_equal(found[:, 4], np.arange(40) % 2)
    others = [i for i in range(6) if i not in GIVEN]
    again = model.condition(jnp.asarray(changed(rows, others)), model.likelihood)
    np.testing.assert_array_equal(found, again)


def test_the_likelihood_is_that_of_the_other_columns():
    model, _ = build()
    likelihood = model.likelihood
    # Without those of size and of three plans; hours is an exposure.
    assert likelihood.num_outputs == 3
    assert set(likelihood.learned) == {"positive_scale", "count_size"}
    rows, latents = jnp.asarray(ROWS), jax.random.normal(jax.random.key(0), (40, 2))
    decoded = model.given(rows).decode(latents)
    assert isinstance(decoded, RowCompletion)
    by_column = decoded.of_others.log_prob_by_column(rows)
    np.testing.assert_array_equal(by_column[:, list(GIVEN)], 0)
    np.testing.assert_allclose(decoded.log_prob(rows), by_column.sum(axis=1), rtol=1e-6)
    same = decoded.log_prob(jnp.asarray(changed(ROWS, list(GIVEN))))
    np.testing.assert_array_equal(same, decoded.log_prob(rows))
    hidden = with_holes(ROWS, *GIVEN)
    np.testing.assert_array_equal(decoded.log_prob(jnp.asarray(hidden)), decoded.log_prob(rows))


def test_means_and_draws_have_the_cells_that_are_given():
    model, _ = build()
    holes = with_holes(ROWS, 0)
    given = model.given(jnp.asarray(holes))
    decoded = given.decode(jnp.zeros((3, 40, 2)))
    for rows in (decoded.mean, decoded.sample(jax.random.key(1))):
        assert rows.shape == (3, 40, 1, 6, 1)
        for index in GIVEN:
            wanted = np.broadcast_to(holes[:, 0, index, 0], (3, 40))
            np.testing.assert_array_equal(rows[:, :, 0, index, 0], wanted)
        assert np.isfinite(rows[:, :, 0, 1:4]).all()


def test_posterior_decoder_and_prior_see_the_condition_and_missing_cells():
    model, _ = build()
    terms = {}
    for name, condition in {
        "own": ROWS,
        "other": changed(ROWS, [0]),
        "missing": with_holes(ROWS, 0, 4),
    }.items():
        given = model.given(jnp.asarray(condition))
        found = elbo_terms(given, jnp.asarray(ROWS), jnp.asarray(ROWS), jax.random.key(0))
        assert np.isfinite(found.elbo).all()
        terms[name] = (given.prior.mean, given.encode(jnp.asarray(ROWS)).mean, found.elbo)
    for own, other in zip(terms["own"], terms["other"], strict=True):
        assert (np.asarray(own) != np.asarray(other)).any()


def test_counts_are_of_a_given_exposure():
    model, _ = build(given=("hours",))
    rows = np.repeat(ROWS[:1], 2, axis=0)
    rows[:, 0, 5] = [[1.0], [10.0]]
    # The decoder sees the exposure, too: here it does not listen.
    latents = jnp.zeros((2, 2))
    model.decoder.output.kernel[...] = jnp.zeros_like(model.decoder.output.kernel[...])
    decoded = model.given(jnp.asarray(rows)).decode(latents)
    np.testing.assert_allclose(decoded.mean[1, 0, 2] / decoded.mean[0, 0, 2], 10, rtol=1e-4)
    exposed = model.likelihood(model.decoder(jnp.zeros((2, 3)))).log_prob(jnp.asarray(rows))
    np.testing.assert_allclose(decoded.log_prob(jnp.asarray(rows)), exposed, rtol=1e-5)


def test_rows_are_imputed_given_their_own_condition():
    model, _ = build()
    holes = with_holes(ROWS, 0, 1, 3)[:6]
    keys = jax.random.split(jax.random.key(0), 6)
    filled = jax.jit(lambda rows, keys: impute(model, rows, keys, num_samples=50, num_draws=3))
    together = filled(jnp.asarray(holes), keys)
    for found in (np.asarray(together.point), np.asarray(together.draws[0])):
        # The size is a condition: nothing is said of it.
        assert np.isnan(found[::2, 0, 0, 0]).all()
        assert np.isfinite(found[:, 0, 1:]).all()
        np.testing.assert_array_equal(found[1::2], holes[1::2])
    for row in (0, 1):
        alone = filled(jnp.asarray(holes[row : row + 1]), keys[row : row + 1])
        np.testing.assert_allclose(alone.point[0], together.point[row], rtol=1e-4)
        np.testing.assert_allclose(alone.draws[:, 0], together.draws[:, row], rtol=1e-3)


def test_cells_by_column_become_rows():
    _, shape = build(given=("size", "member", "plan"))
    settings = ColumnsConditionSettings(("size", "member", "plan"))
    rows = settings.checked({"size": [160, 170.5], "member": "yes", "plan": None}, 2, shape)
    np.testing.assert_array_equal(rows[:, 0, 0, 0], [160, 170.5])
    np.testing.assert_array_equal(rows[:, 0, 3, 0], [1, 1])
    assert np.isnan(rows[:, 0, [1, 2, 4, 5]]).all()
    texts = settings.checked({"size": "160", "member": "no", "plan": "c"}, 1, shape)
    np.testing.assert_array_equal(texts[0, 0, [0, 3, 4], 0], [160, 0, 2])
    np.testing.assert_array_equal(settings.checked(ROWS[:1], 3, shape), np.repeat(ROWS[:1], 3, 0))


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"size": 1.0}, "condition lacks 'plan'; give all of plan, size"),
        ({"size": 1.0, "plan": "d"}, "condition: column 'plan' holds 'd' in row 1, .* of a, b, c"),
        ({"size": "tall", "plan": "a"}, "condition: column 'size' holds 'tall' in row 1"),
        ({"size": np.inf, "plan": "a"}, "condition: column 'size': inf, where .* finite"),
        ({"size": 1.0, "plam": "a"}, "'plam' is none of the columns .* did you mean plan"),
        ({"size": 1.0, "plan": "a", "hours": 1}, "'hours' is none of the columns that are seen"),
        ({"size": [1.0, 2.0], "plan": "a"}, "column 'size' has 2 values for 5 rows; give one for"),
        ({"size": [], "plan": "a"}, "column 'size' has 0 values for 5 rows"),
        ({"size": [[1.0]], "plan": "a"}, r"column 'size' has an array of shape \(1, 1\) for 5"),
        (ROWS[:2], "condition has 2 rows for 5; give one for each, or a single one"),
    ],
)
def test_wrong_conditions_are_refused(condition, message):
    _, shape = build()
    with pytest.raises(UserError, match=message):
        ColumnsConditionSettings(SEEN).checked(condition, 5, shape)


def test_a_category_that_no_training_row_has_is_no_condition():
    rows = ROWS[ROWS[:, 0, 4, 0] < 2]
    _, shape = build(rows)
    with pytest.raises(UserError, match="column 'plan' is 'c', which no training row has"):
        ColumnsConditionSettings(SEEN).checked({"size": 1.0, "plan": "c"}, 1, shape)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("sise",), "columns=.'sise',.: the table has no column 'sise'; did you mean size"),
        (("weight",), "the table has no column 'weight'; it has size, income, visits"),
        (("kind",), "'kind' is the label of the table, which no model sees; say its kind, such"),
        (tuple(c.name for c in COLUMNS), "leaves no column of the table to model; name fewer"),
        (tuple(c.name for c in COLUMNS[:5]), "leaves no column of the table to model"),
    ],
)
def test_columns_that_a_table_does_not_have_are_refused(names, message):
    problem = ColumnsConditionSettings(names).unfit(COLUMNS, "kind")
    assert problem is not None
    with pytest.raises(UserError, match=message):
        raise UserError(problem)
    assert ColumnsConditionSettings(SEEN).unfit(COLUMNS) is None


def test_numbers_are_categories_by_all_of_their_digits():
    described = [Column("x", "category", ("0.12345671", "0.12345672")), Column("y", "real")]
    rows = np.float32([[0, 1.5], [1, 2.5]])[:, None, :, None]
    shape = columns.fit(described, rows, "rows")
    chosen = ColumnsConditionSettings(("x",))
    assert chosen.checked({"x": 0.12345672}, 2, shape)[:, 0, 0, 0].tolist() == [1, 1]
    chosen = ColumnsConditionSettings(("y",))
    with pytest.raises(UserError, match=r"'y': 1e\+39, where .* the largest of float32"):
        chosen.checked({"y": 1e39}, 2, shape)
