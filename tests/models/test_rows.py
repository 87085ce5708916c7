"""Rows of a table: the encoder's features, and likelihoods in the units of the file."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_models import in_one_program, initialized
from small_rows import COLUMNS, ROWS, with_holes

from vae_jax.data import columns
from vae_jax.distributions import Classes, Columns
from vae_jax.models.rows import ColumnsSettings, RowEncoder, log_moments
from vae_jax.models.vae import VAESettings
from vae_jax.networks.mlp import MLPEncoderSettings
from vae_jax.objectives.bounds import elbo_terms


def build(rows=ROWS, initialize=initialized, **settings):
    shape = columns.fit(COLUMNS, rows, "rows")
    vae = VAESettings(
        latent_size=2,
        encoder=MLPEncoderSettings(widths=(4,)),
        likelihood=ColumnsSettings(**settings),
    )
    return initialize(lambda: vae.build(shape, jnp.zeros(shape), rngs=nnx.Rngs(0))), shape


def features(model, rows):
    assert isinstance(model.encoder, RowEncoder)
    return np.asarray(in_one_program(lambda model, rows: model.encoder.features(rows), model, rows))


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
    for rows, mask, masked in ((with_holes(ROWS, 0), "none", ()), (ROWS, "all", tuple(range(6)))):
        model, _ = build(rows, nnx.eval_shape, mask=mask)
        assert model.encoder.features.masked == masked


def test_a_column_that_is_never_missing_changes_no_bit_when_others_are_masked():
    rows = with_holes(ROWS, 1)
    model, _ = build(rows)
    holes, whole = features(model, rows), features(model, ROWS)
    others = [0, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(holes[:, others], whole[:, others])
    decode = jax.jit(lambda z, x: model.decode(z).log_prob_by_column(x))
    latents = np.ones((40, 2), np.float32)
    found, expected = (np.asarray(decode(latents, x)) for x in (rows, ROWS))
    kept = [0, 2, 3, 4, 5]
    np.testing.assert_array_equal(found[:, kept], expected[:, kept])
    np.testing.assert_array_equal(found[1::2], expected[1::2])
    assert not found[::2, 1].any()


def log_prob_of_whole_rows(distribution, rows):
    """Return what `Columns.log_prob_by_column` does of rows that cannot lack a cell."""
    parts, order = [], []
    for group in distribution.given(rows).groups:
        cells = rows[..., 0, np.array(group.indices), 0]
        if isinstance(group.distribution, Classes):
            parts.append(group.distribution.log_prob(cells.astype(jnp.int32)))
        else:
            parts.append(group.distribution.log_prob_by_dimension(cells))
        order += group.indices
    return jnp.concatenate(parts, axis=-1)[..., np.argsort(order)]


def stepped(model, rows):
    """Return each row's bound, its mean's gradient, and the parameters after a step by it."""
    graphdef, params = nnx.split(model)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params):
        def loss(params):
            bound = elbo_terms(nnx.merge(graphdef, params), rows, rows, jax.random.key(0)).elbo
            return -bound.mean(), bound

        (_, bound), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, _ = optimizer.update(gradient, optimizer.init(params))
        return bound, gradient, optax.apply_updates(params, updates)

    return jax.device_get(step(params))


def assert_same_bits(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for leaf, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(leaf, other)


def test_columns_that_are_never_missing_change_no_bit_of_a_step(monkeypatch):
    rows = jax.device_put(ROWS)
    (masked, _), (unmasked, _) = build(mask="auto"), build(mask="none")
    # The same key gives the same parameters: no column has a mask.
    assert_same_bits(nnx.state(masked), nnx.state(unmasked))
    found = stepped(masked, rows)
    assert_same_bits(found, stepped(unmasked, rows))
    gradients = [np.asarray(leaf) for leaf in jax.tree.leaves(found[1])]
    assert all(np.isfinite(leaf).all() for leaf in gradients)
    assert sum(leaf.any() for leaf in gradients) > len(gradients) / 2
    # Nor does it matter that the likelihood leaves out cells that were not seen.
    monkeypatch.setattr(Columns, "log_prob_by_column", log_prob_of_whole_rows)
    assert_same_bits(found, stepped(unmasked, rows))


def test_holes_of_some_rows_change_no_bit_of_the_bound_of_whole_ones(monkeypatch):
    holes = with_holes(ROWS, 1)
    (masked, _), (unmasked, _) = build(holes, mask="auto"), build(holes, mask="none")
    # The mask is an input of the encoder's first layer, and all other parameters are equal.
    pairs = list(zip(*(jax.tree.leaves(nnx.state(m)) for m in (masked, unmasked)), strict=True))
    shapes = [(leaf.shape, other.shape) for leaf, other in pairs if leaf.shape != other.shape]
    assert shapes == [((9, 4), (8, 4))]
    assert_same_bits(*zip(*(pair for pair in pairs if pair[0].shape == pair[1].shape), strict=True))
    bound = stepped(masked, jax.device_put(holes))[0]
    assert np.isfinite(bound).all()
    monkeypatch.setattr(Columns, "log_prob_by_column", log_prob_of_whole_rows)
    of_all_seen = stepped(masked, jax.device_put(ROWS))[0]
    np.testing.assert_array_equal(bound[1::2], of_all_seen[1::2])
    assert (bound[::2] != of_all_seen[::2]).all()


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
    start = in_one_program(
        lambda model: model.likelihood(jnp.asarray(model.likelihood.start)).mean, model
    )
    means = np.asarray(start)[0, :, 0]
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

    def log_prob(model, rows):
        return model.decode(jnp.ones((40, 2))).log_prob(rows)

    first = np.asarray(in_one_program(log_prob, model, ROWS))
    second = np.asarray(in_one_program(log_prob, other, rows))
    np.testing.assert_allclose(second, first - 2 * np.log(1000), atol=2e-3)


@pytest.mark.parametrize(("hours", "scale"), [([3, 3, 3], 0.0), ([1, 2, 4], 0.566)])
def test_the_exposures_of_draws_are_like_those_of_the_training_rows(hours, scale):
    rows = np.float32(hours)[:, None, None, None]
    (exposure,) = columns.fit(COLUMNS[-1:], rows, "rows").columns
    center, found = log_moments(exposure)
    assert center == pytest.approx(np.log(hours).mean(), rel=1e-4)
    assert found == pytest.approx(scale, rel=1e-3)
