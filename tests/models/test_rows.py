"""Rows of a table: the encoder's features, and likelihoods in the units of the file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vae_jax.data import columns
from vae_jax.data.columns import Column
from vae_jax.models.rows import ColumnsSettings, RowEncoder, log_moments
from vae_jax.models.vae import VAESettings
from vae_jax.networks.mlp import MLPEncoderSettings
from vae_jax.objectives.bounds import elbo_terms

COLUMNS = (
    Column("size", "real"),
    Column("income", "positive"),
    Column("visits", "count"),
    Column("member", "binary", ("no", "yes")),
    Column("plan", "category", ("a", "b", "c")),
    Column("hours", "exposure"),
)


def table(num=40, seed=0):
    rng = np.random.default_rng(seed)
    cells = [
        170 + 8 * rng.normal(size=num),
        np.exp(5 + rng.normal(size=num)),
        rng.poisson(4.0, num),
        rng.integers(2, size=num),
        np.arange(num) % 3,
        np.exp(rng.normal(size=num)),
    ]
    return np.stack(cells, axis=-1).astype(np.float32)[:, None, :, None]


ROWS = table()


def with_holes(rows, *holes):
    rows = rows.copy()
    for index in holes:
        rows[::2, 0, index, 0] = np.nan
    return rows


def build(rows=ROWS, **settings):
    shape = columns.fit(COLUMNS, rows, "rows")
    vae = VAESettings(
        latent_size=2,
        encoder=MLPEncoderSettings(widths=(4,)),
        likelihood=ColumnsSettings(**settings),
    )
    return vae.build(shape, jnp.zeros(shape), rngs=nnx.Rngs(0)), shape


def features(model, rows):
    assert isinstance(model.encoder, RowEncoder)
    return np.asarray(model.encoder.features(jnp.asarray(rows)))


def test_features_are_standardised_and_one_hot():
    model, _ = build()
    found = features(model, ROWS)
    # Size, income and hours, visits, member, three plans; nothing is masked.
    assert found.shape == (40, 8)
    np.testing.assert_allclose(found[:, :4].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found[:, :4].std(axis=0), 1, atol=1e-4)
    np.testing.assert_array_equal(found[:, 4], ROWS[:, 0, 3, 0])
    np.testing.assert_array_equal(found[:, 5:].argmax(axis=1), ROWS[:, 0, 4, 0])


def test_a_missing_cell_has_zeros_and_a_mask_if_training_rows_lack_it():
    model, _ = build(with_holes(ROWS, 0, 4))
    holes = with_holes(ROWS, 0, 1, 4)
    found = features(model, holes)
    # The masks of size and plan, not of income, which no training row lacks.
    assert found.shape == (40, 10)
    np.testing.assert_array_equal(found[:, 8:].T, [np.arange(40) % 2] * 2)
    assert not found[::2, [0, 1, 5, 6, 7]].any()
    assert build(with_holes(ROWS, 0), mask="none")[0].encoder.features.masked == ()
    assert build(mask="all")[0].encoder.features.masked == (0, 1, 2, 3, 4, 5)


def test_a_column_that_is_never_missing_changes_no_bit_when_others_are_masked():
    rows = with_holes(ROWS, 1)
    model, _ = build(rows)
    holes, whole = features(model, rows), features(model, ROWS)
    others = [0, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(holes[:, others], whole[:, others])
    decode = jax.jit(lambda z, x: model.decode(z).log_prob_by_column(x))
    latents = jnp.ones((40, 2))
    found, expected = (np.asarray(decode(latents, jnp.asarray(x))) for x in (rows, ROWS))
    kept = [0, 2, 3, 4, 5]
    np.testing.assert_array_equal(found[:, kept], expected[:, kept])
    np.testing.assert_array_equal(found[1::2], expected[1::2])
    assert not found[::2, 1].any()


def test_the_bound_of_whole_rows_does_not_depend_on_the_masks_machinery():
    unmasked, _ = build(mask="none")
    masked, _ = build(with_holes(ROWS, 1), mask="none")
    # The same parameters and statistics: only the table that it was fitted to had holes.
    masked.encoder.features = unmasked.encoder.features
    masked.likelihood.columns = unmasked.likelihood.columns
    nnx.update(masked, nnx.state(unmasked))
    bounds = [
        np.asarray(jax.jit(lambda x, m=model: elbo_terms(m, x, x, jax.random.key(0)).elbo)(ROWS))
        for model in (unmasked, masked)
    ]
    np.testing.assert_array_equal(*bounds)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"real": "student_t", "scale_kind": "per_cell"},
        {"count": "zero_inflated_negative_binomial", "scale_kind": "per_cell"},
        {"count": "poisson", "real": "student_t"},
    ],
)
def test_the_decoder_starts_at_the_columns_and_has_a_finite_gradient(settings):
    model, shape = build(**settings)
    start = model.likelihood(jnp.asarray(model.likelihood.start))
    means = np.asarray(start.mean)[0, :, 0]
    assert means[0] == pytest.approx(shape.columns[0].center, rel=1e-5)
    assert means[2] == pytest.approx(shape.columns[2].mean, rel=0.06)

    def loss(state, rows):
        merged = nnx.merge(nnx.graphdef(model), state)
        return -elbo_terms(merged, rows, rows, jax.random.key(0)).elbo.mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(nnx.state(model), with_holes(ROWS, 0, 2, 4))
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_log_likelihoods_are_in_the_units_of_the_file():
    rows = ROWS.copy()
    rows[:, 0, :2] *= 1000
    (model, _), (other, _) = build(), build(rows)
    latents = jnp.ones((40, 2))
    first = np.asarray(model.decode(latents).log_prob(jnp.asarray(ROWS)))
    second = np.asarray(other.decode(latents).log_prob(jnp.asarray(rows)))
    np.testing.assert_allclose(second, first - 2 * np.log(1000), atol=2e-3)


@pytest.mark.parametrize(("hours", "scale"), [([3, 3, 3], 0.0), ([1, 2, 4], 0.566)])
def test_the_exposures_of_draws_are_like_those_of_the_training_rows(hours, scale):
    rows = np.float32(hours)[:, None, None, None]
    (exposure,) = columns.fit(COLUMNS[-1:], rows, "rows").columns
    center, found = log_moments(exposure)
    assert center == pytest.approx(np.log(hours).mean(), rel=1e-4)
    assert found == pytest.approx(scale, rel=1e-3)
