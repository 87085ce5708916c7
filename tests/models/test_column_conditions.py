"""Models of some columns of a row given others: features, likelihood, draws, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_models import in_one_program, initialized, normal
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


def shape_of(rows=ROWS):
    return columns.fit(COLUMNS, rows, "rows")


def build(rows=ROWS, given=SEEN):
    layers = MLPSettings(widths=(4,))
    vae = VAESettings(
        latent_size=2,
        encoder=MLPEncoderSettings(widths=(4,)),
        likelihood=ColumnsSettings(),
        condition=ColumnsConditionSettings(given, joint=layers, prior_layers=layers),
    )
    shape = shape_of(rows)
    model = initialized(lambda: vae.build(shape, jnp.zeros(shape), rngs=nnx.Rngs(0)))
    assert isinstance(model, ConditionalVAE)
    return model, shape


@pytest.fixture(scope="module")
def model():
    """A model given plan and size, which no test changes."""
    return build()[0]


def changed(rows, indices):
    """Return rows with other values in some columns."""
    other = rows.copy()
    other[:, 0, indices] = np.roll(rows, 1, axis=0)[:, 0, indices]
    return other


def test_features_are_those_of_the_named_columns_in_the_order_of_the_table():
    model, shape = build(with_holes(ROWS, 0))
    rows = with_holes(ROWS, 0)
    others = [i for i in range(6) if i not in GIVEN]

    def features(model, rows):
        return model.condition(rows, model.likelihood)

    found, again = np.asarray(
        in_one_program(
            jax.vmap(features, (None, 0)), model, np.stack([rows, changed(rows, others)])
        )
    )
    # Size, three plans, and the mask of size, which training rows lack.
    assert found.shape == (40, 5)
    fitted = shape.columns[0]
    np.testing.assert_allclose(
        found[1::2, 0], (ROWS[1::2, 0, 0, 0] - fitted.center) / fitted.scale, rtol=1e-4
    )
    np.testing.assert_array_equal(found[::2, 0], 0)
    np.testing.assert_array_equal(found[:, 1:4].argmax(axis=1), ROWS[:, 0, 4, 0])
    np.testing.assert_array_equal(found[:, 4], np.arange(40) % 2)
    np.testing.assert_array_equal(found, again)


def test_the_likelihood_is_that_of_the_other_columns(model):
    # Without those of size and of three plans; hours is an exposure.
    assert model.likelihood.num_outputs == 3
    assert set(model.likelihood.learned) == {"positive_scale", "count_size"}

    def densities(model, latents, rows, others):
        decoded = model.given(rows).decode(latents)
        assert isinstance(decoded, RowCompletion)
        of_others = [decoded.log_prob(other) for other in others]
        return decoded.of_others.log_prob_by_column(rows), decoded.log_prob(rows), of_others

    others = [changed(ROWS, list(GIVEN)), with_holes(ROWS, *GIVEN)]
    by_column, whole, same = in_one_program(densities, model, normal(0, 40, 2), ROWS, others)
    np.testing.assert_array_equal(by_column[:, list(GIVEN)], 0)
    np.testing.assert_allclose(whole, np.asarray(by_column).sum(axis=1), rtol=1e-6)
    for log_prob in same:
        np.testing.assert_array_equal(log_prob, whole)


def test_means_and_draws_have_the_cells_that_are_given(model):
    holes = with_holes(ROWS, 0)

    def mean_and_draw(model, rows):
        decoded = model.given(rows).decode(jnp.zeros((3, 40, 2)))
        return decoded.mean, decoded.sample(jax.random.key(1))

    for rows in map(np.asarray, in_one_program(mean_and_draw, model, holes)):
        assert rows.shape == (3, 40, 1, 6, 1)
        for index in GIVEN:
            wanted = np.broadcast_to(holes[:, 0, index, 0], (3, 40))
            np.testing.assert_array_equal(rows[:, :, 0, index, 0], wanted)
        assert np.isfinite(rows[:, :, 0, 1:4]).all()


def test_posterior_decoder_and_prior_see_the_condition_and_missing_cells(model):
    def terms(model, condition, rows):
        given = model.given(condition)
        found = elbo_terms(given, rows, rows, jax.random.key(0))
        return given.prior.mean, given.encode(rows).mean, found.elbo

    conditions = np.stack([ROWS, changed(ROWS, [0]), with_holes(ROWS, 0, 4)])
    found = in_one_program(jax.vmap(terms, (None, 0, None)), model, conditions, ROWS)
    for own, other, missing in map(np.asarray, found):
        assert (own != other).any()
        assert np.isfinite([own, other, missing]).all()


def test_counts_are_of_a_given_exposure():
    model, _ = build(given=("hours",))
    rows = np.repeat(ROWS[:1], 2, axis=0)
    rows[:, 0, 5] = [[1.0], [10.0]]
    # The decoder sees the exposure, too: here it does not listen.
    kernel = model.decoder.output.kernel
    kernel[...] = jax.device_put(np.zeros(kernel.shape, np.float32))

    def means_and_densities(model, rows):
        decoded = model.given(rows).decode(jnp.zeros((2, 2)))
        exposed = model.likelihood(model.decoder(jnp.zeros((2, 3)))).log_prob(rows)
        return decoded.mean, decoded.log_prob(rows), exposed

    mean, found, expected = map(np.asarray, in_one_program(means_and_densities, model, rows))
    np.testing.assert_allclose(mean[1, 0, 2] / mean[0, 0, 2], 10, rtol=1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_rows_are_imputed_given_their_own_condition(model):
    holes = with_holes(ROWS, 0, 1, 3)[:6]
    keys = np.arange(12, dtype=np.uint32).reshape(6, 2)

    @jax.jit
    def filled(rows, keys):
        keys = jax.random.wrap_key_data(keys)
        found = impute(model, rows, keys, num_samples=50, num_draws=3)
        return found.point, found.draws

    point, draws = map(np.asarray, filled(holes, keys))
    for found in (point, draws[0]):
        # The size is a condition: nothing is said of it.
        assert np.isnan(found[::2, 0, 0, 0]).all()
        assert np.isfinite(found[:, 0, 1:]).all()
        np.testing.assert_array_equal(found[1::2], holes[1::2])
    # A row is filled the same whatever rows are beside it.
    for row in (0, 1):
        copies = filled(holes[[row] * 6], keys[[row] * 6])
        np.testing.assert_allclose(copies[0][0], point[row], rtol=1e-4)
        np.testing.assert_allclose(copies[1][:, 0], draws[:, row], rtol=1e-3)


def test_cells_by_column_become_rows():
    shape = shape_of()
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
    shape = shape_of()
    with pytest.raises(UserError, match=message):
        ColumnsConditionSettings(SEEN).checked(condition, 5, shape)


def test_a_category_that_no_training_row_has_is_no_condition():
    rows = ROWS[ROWS[:, 0, 4, 0] < 2]
    shape = shape_of(rows)
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
