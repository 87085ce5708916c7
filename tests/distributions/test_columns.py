"""Likelihoods of single columns, and of rows of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from vae_jax.distributions import (
    Binary,
    Classes,
    Columns,
    Constant,
    Group,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
    ZeroInflatedNegativeBinomial,
)

COUNTS = np.arange(400, dtype=np.float32)


@jax.jit
def mean_of(distribution):
    return distribution.mean


@jax.jit
def drawn(distribution, key):
    return distribution.sample(key)


def array(*values):
    return jnp.asarray(values, jnp.float32)


def log_array(*values):
    return jnp.asarray(np.log(np.float32(values)))


def negative_binomial(mean=4.0, size=1.5):
    return NegativeBinomial(log_array(mean), log_array(size))


@jax.jit
def log_probs(distribution, values):
    """Return the log probability of each value under the single element of a distribution."""
    return distribution.log_prob_by_dimension(values[:, None])[:, 0]


@pytest.mark.parametrize(
    ("distribution", "oracle"),
    [
        (Poisson(log_array(3.5)), scipy.stats.poisson(3.5)),
        (negative_binomial(), scipy.stats.nbinom(1.5, 1.5 / 5.5)),
    ],
)
def test_counts_have_the_probabilities_of_scipy(distribution, oracle):
    found = np.asarray(log_probs(distribution, COUNTS[:60]))
    np.testing.assert_allclose(found, oracle.logpmf(COUNTS[:60]), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "distribution",
    [
        Poisson(log_array(3.5)),
        negative_binomial(),
        ZeroInflatedNegativeBinomial(negative_binomial(), array(0.4)),
    ],
)
def test_probabilities_of_counts_sum_to_one_and_have_the_mean(distribution):
    probabilities = np.exp(np.asarray(log_probs(distribution, COUNTS), np.float64))
    assert probabilities.sum() == pytest.approx(1, abs=2e-5)
    assert probabilities @ COUNTS == pytest.approx(
        float(np.asarray(mean_of(distribution))[0]), rel=1e-4
    )


def test_probabilities_of_categories_sum_to_one():
    of_two = log_probs(Binary(array(0.7)), np.arange(2, dtype=np.float32))
    of_three = jax.jit(Classes(array(0.1, 0.2, -0.5)).log_prob)(jnp.arange(3))
    for log_probabilities in (of_two, of_three):
        assert np.exp(log_probabilities).sum() == pytest.approx(1, abs=1e-6)


def test_more_zeros_are_those_of_the_logit():
    counts, inflated = negative_binomial(), ZeroInflatedNegativeBinomial
    zero = np.exp(log_probs(counts, COUNTS[:1]))[0]
    more = np.exp(log_probs(inflated(counts, array(0.4)), COUNTS[:1]))[0]
    share = scipy.special.expit(0.4)
    assert more == pytest.approx(share + (1 - share) * zero, rel=1e-5)


@pytest.mark.parametrize(
    ("distribution", "oracle", "low", "high"),
    [
        (Normal(array(1.5), log_array(0.7)), scipy.stats.norm(1.5, 0.7), -np.inf, np.inf),
        (
            StudentT(array(1.5), log_array(0.7), array(4.0)),
            scipy.stats.t(4, 1.5, 0.7),
            -np.inf,
            np.inf,
        ),
        (
            LogNormal(array(0.3), log_array(0.6)),
            scipy.stats.lognorm(0.6, scale=np.exp(0.3)),
            0,
            np.inf,
        ),
    ],
)
def test_densities_are_those_of_scipy_and_integrate_to_one(distribution, oracle, low, high):
    values = np.float32([0.1, 0.5, 1.0, 2.0, 7.0])
    np.testing.assert_allclose(log_probs(distribution, values), oracle.logpdf(values), rtol=1e-4)
    grid = np.linspace(max(low, -400) + 1e-4, 400, 400_001).astype(np.float32)
    density = np.exp(np.asarray(log_probs(distribution, grid), np.float64))
    assert scipy.integrate.trapezoid(density, grid) == pytest.approx(1, abs=2e-3)
    assert float(np.asarray(mean_of(distribution))[0]) == pytest.approx(oracle.mean(), rel=1e-5)


def test_means_and_draws_of_a_log_normal_are_finite_however_far_off_its_median_is():
    distribution = LogNormal(array(0.3, 90, 1e6), log_array(0.6, 0.6, 0.6))
    for values in map(np.asarray, (mean_of(distribution), drawn(distribution, jax.random.key(0)))):
        assert np.isfinite(values).all()
        # Sums of a thousand are finite, too.
        assert np.isfinite(1000 * values).all()
        assert (values[1:] > 1e30).all()


@pytest.mark.parametrize(
    ("distribution", "oracle"),
    [
        (negative_binomial(), scipy.stats.nbinom(1.5, 1.5 / 5.5)),
        (StudentT(array(1.5), log_array(0.7), array(8.0)), scipy.stats.t(8, 1.5, 0.7)),
        (LogNormal(array(0.3), log_array(0.6)), scipy.stats.lognorm(0.6, scale=np.exp(0.3))),
    ],
)
def test_samples_have_the_quantiles_of_the_distribution(distribution, oracle):
    @jax.jit
    def draw(distribution, key):
        wide = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (20_000,)), distribution)
        return wide.sample(key)

    draws = draw(distribution, jax.random.key(0))
    for quantile in (0.1, 0.5, 0.9):
        below = np.mean(np.asarray(draws) <= oracle.ppf(quantile))
        assert below == pytest.approx(oracle.cdf(oracle.ppf(quantile)), abs=0.015)


def of_all_kinds():
    """Return the distribution of a row with a column of each kind and an exposure."""
    return Columns(
        (
            Group(Normal(array(1.0), array(0.2)), (1,)),
            Group(negative_binomial(), (0,)),
            Group(Classes(jnp.asarray([[0.1, 0.2, -0.5]])), (3,)),
            Group(Binary(array(0.7)), (2,)),
            Group(Constant(array(2.0)), (4,)),
        ),
        exposure=4,
        log_exposure=float(np.log(2.0)),
    )


def row(*values):
    return jnp.asarray(np.float32(values)[None, :, None])


log_prob_by_column = jax.jit(lambda d, x: d.log_prob_by_column(x))


@jax.jit
def mean_and_draw_given(distribution, seen):
    """Return the mean of a row given what was seen of it, and a draw."""
    given = distribution.given(seen)
    return given.mean, given.sample(jax.random.key(0))


def test_a_row_is_the_sum_of_its_columns_in_their_order():
    found = np.asarray(log_prob_by_column(of_all_kinds(), row(3, 0.5, 1, 2, 2)))
    expected = [
        scipy.stats.nbinom(1.5, 1.5 / 5.5).logpmf(3),
        scipy.stats.norm(1, np.exp(0.2)).logpdf(0.5),
        np.log(scipy.special.expit(0.7)),
        scipy.special.log_softmax([0.1, 0.2, -0.5])[2],
        0,
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_cell_that_was_not_seen_adds_nothing_and_changes_no_bit_of_the_others():
    whole = np.asarray(log_prob_by_column(of_all_kinds(), row(3, 0.5, 1, 2, 2)))
    for hole in range(4):
        values = [3, 0.5, 1, 2, 2]
        values[hole] = np.nan
        found = np.asarray(log_prob_by_column(of_all_kinds(), row(*values)))
        others = np.arange(5) != hole
        np.testing.assert_array_equal(found[others], whole[others])
        assert found[hole] == 0
    gradient = jax.jit(jax.grad(lambda d, x: d.log_prob(x)))(of_all_kinds(), row(*[np.nan] * 5))
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient))


def test_counts_are_proportional_to_the_exposure_of_their_row():
    distribution = of_all_kinds()
    found = np.asarray(log_prob_by_column(distribution, row(3, 0.5, 1, 2, 6)))[0]
    # Three times the exposure that the mean of 4 is for.
    assert found == pytest.approx(scipy.stats.nbinom(1.5, 1.5 / 13.5).logpmf(3), rel=1e-5)
    mean = np.asarray(mean_and_draw_given(distribution, row(np.nan, 0, 0, 0, 6))[0])
    assert mean[0, 0, 0] == pytest.approx(12, rel=1e-5)


def test_an_exposure_is_drawn_and_its_counts_are_of_it():
    distribution = dataclasses.replace(of_all_kinds(), log_exposure_scale=0.5)
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = np.asarray(jax.jit(jax.vmap(distribution.sample))(keys))[:, 0, :, 0]
    logs = np.log(draws[:, 4])
    assert logs.mean() == pytest.approx(np.log(2), abs=0.02)
    assert logs.std() == pytest.approx(0.5, abs=0.02)
    few, many = (draws[np.abs(draws[:, 4] - near) < 0.1, 0].mean() for near in (1, 4))
    assert (few, many) == pytest.approx((2, 8), rel=0.1)
    wide = jax.tree.map(lambda leaf: jnp.asarray(np.stack([leaf] * 7)), distribution)
    draws = np.asarray(drawn(wide, jax.random.key(0)))
    assert draws.shape == (7, 1, 5, 1)
    assert len(set(draws[:, 0, 4, 0])) == 7


def test_an_exposure_that_was_not_seen_stays_so():
    seen = row(np.nan, 0, 0, 0, np.nan)
    mean, draw = map(np.asarray, mean_and_draw_given(of_all_kinds(), seen))
    assert np.isnan(mean[0, 4, 0])
    assert np.isnan(draw[0, 4, 0])
    assert mean[0, 0, 0] == pytest.approx(4, rel=1e-5)


def test_the_mean_has_the_likeliest_category_and_draws_have_every_column():
    distribution = of_all_kinds()
    mean = np.asarray(mean_of(distribution))
    np.testing.assert_allclose(mean[0, :, 0], [4, 1, 1, 1, 2], rtol=1e-6)
    draw = np.asarray(drawn(distribution, jax.random.key(0)))
    assert draw.shape == (1, 5, 1)
    assert draw[0, 0, 0] == round(draw[0, 0, 0])
    assert draw[0, 2, 0] in (0, 1)
    assert draw[0, 3, 0] in (0, 1, 2)
