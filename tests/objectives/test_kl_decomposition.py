import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from vae_jax.distributions import Normal
from vae_jax.objectives import kl_decomposition
from vae_jax.objectives.kl_decomposition import log_importance_weights

decompose = jax.jit(kl_decomposition.decompose)
# One of each example's posterior.
log_prob = jax.jit(lambda posterior, latents: posterior.log_prob(latents))
ESTIMATORS = ["weighted", "stratified"]
PRIOR = Normal(*map(jnp.asarray, np.zeros((2, 3), np.float32)))


def posterior_of(num, spread=1.0, seed=0):
    """Return independent normals in three dimensions, and a draw of each."""
    rng = np.random.default_rng(seed)
    mean = (spread * rng.normal(size=(num, 3))).astype(np.float32)
    log_scale = rng.uniform(-1, 0.3, (num, 3)).astype(np.float32)
    latents = mean + np.exp(log_scale) * rng.normal(size=(num, 3)).astype(np.float32)
    return Normal(jnp.asarray(mean), jnp.asarray(log_scale)), jnp.asarray(latents)


def exact_log_densities(posterior, latents):
    """Return log q(z_i) and log q(z_ij) over all posteriors, in float64 by SciPy."""
    z, mean = np.asarray(latents, np.float64), np.asarray(posterior.mean, np.float64)
    scale = np.exp(np.asarray(posterior.log_scale, np.float64))
    by_dimension = stats.norm.logpdf(z[:, None], mean, scale)
    log_num = np.log(len(mean))
    joint = special.logsumexp(by_dimension.sum(axis=-1), axis=1) - log_num
    return joint, special.logsumexp(by_dimension, axis=1) - log_num


def log_joint(terms, posterior, latents):
    return np.asarray(log_prob(posterior, latents)) - np.asarray(terms.mutual_information)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("batch_size", [1, 2, 17])
def test_the_parts_sum_to_the_log_ratio_of_posterior_and_prior(estimator, batch_size):
    posterior, latents = posterior_of(batch_size)
    terms = decompose(
        posterior, PRIOR, latents, log_importance_weights(estimator, batch_size, 1000)
    )
    expected = np.subtract(log_prob(posterior, latents), log_prob(PRIOR, latents))
    np.testing.assert_allclose(np.sum(terms, axis=0), expected, rtol=1e-4, atol=1e-4)
    assert all(np.isfinite(values).all() for values in terms)


def test_stratified_by_the_whole_data_set_is_exact():
    posterior, latents = posterior_of(40)
    terms = decompose(posterior, PRIOR, latents, log_importance_weights("stratified", 40, 40))
    joint, marginals = exact_log_densities(posterior, latents)
    prior = stats.norm.logpdf(np.asarray(latents, np.float64))
    conditional = np.asarray(log_prob(posterior, latents), np.float64)
    tolerance = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(terms.mutual_information, conditional - joint, **tolerance)
    np.testing.assert_allclose(terms.total_correlation, joint - marginals.sum(axis=1), **tolerance)
    np.testing.assert_allclose(terms.dimensionwise_kl, (marginals - prior).sum(axis=1), **tolerance)


def test_weighted_by_the_whole_data_set_is_too_low_by_log_n_in_every_density():
    posterior, latents = posterior_of(40)
    terms = decompose(posterior, PRIOR, latents, log_importance_weights("weighted", 40, 40))
    joint, marginals = exact_log_densities(posterior, latents)
    expected = (joint - np.log(40)) - (marginals - np.log(40)).sum(axis=1)
    np.testing.assert_allclose(log_joint(terms, posterior, latents), joint - np.log(40), rtol=1e-4)
    np.testing.assert_allclose(terms.total_correlation, expected, rtol=1e-4, atol=1e-4)


@jax.jit
def _log_joints(weights, mean, log_scale, latents):
    def log_joint_of_first(mean, log_scale, latents):
        batch = Normal(mean, log_scale)
        terms = kl_decomposition.decompose(batch, PRIOR, latents, weights)
        return (batch.log_prob(latents) - terms.mutual_information)[0]

    return jax.vmap(log_joint_of_first)(mean, log_scale, latents)


def over_batches(estimator, posterior, latents, batch_size):
    """Return the estimates of log q(z_0) by all batches that have example 0."""
    num = len(latents)
    others = itertools.combinations(range(1, num), batch_size - 1)
    indices = np.array([(0, *each) for each in others])
    arrays = (np.asarray(x)[indices] for x in (posterior.mean, posterior.log_scale, latents))
    weights = log_importance_weights(estimator, batch_size, num)
    return np.asarray(_log_joints(weights, *arrays), np.float64)


@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_stratified_is_unbiased_over_all_batches(batch_size):
    posterior, latents = posterior_of(7)
    estimates = over_batches("stratified", posterior, latents, batch_size)
    joint, _ = exact_log_densities(posterior, latents)
    assert np.exp(estimates).mean() == pytest.approx(np.exp(joint[0]), rel=1e-4)
    assert np.exp(estimates).std() > 0.01 * np.exp(joint[0])


def test_weighted_is_too_low_by_log_m_of_distant_posteriors_and_by_log_n_of_equal_ones():
    for spread, gap in ((1000.0, np.log(3)), (0.0, np.log(7))):
        posterior, latents = posterior_of(7, spread)
        posterior = Normal(posterior.mean, jnp.asarray(np.zeros((7, 3), np.float32)))
        latents = jnp.asarray(np.asarray(posterior.mean) + np.float32(0.3))
        estimates = over_batches("weighted", posterior, latents, 3)
        joint, _ = exact_log_densities(posterior, latents)
        np.testing.assert_allclose(estimates, joint[0] - gap, atol=1e-3)


def test_the_stratified_weights_are_the_mean_of_the_papers_over_the_order_of_the_others():
    num, size = 50, 6
    others = size - 1
    paper = np.full((others, size), 1 / others)
    paper[:, 0] = 1 / num
    paper[np.arange(others), 1 + np.arange(others)] = (num - others) / (num * others)
    np.testing.assert_allclose(paper.sum(axis=1), 1)
    weights = np.exp(log_importance_weights("stratified", size, num))
    np.testing.assert_allclose(weights[0], paper.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert (np.diag(weights) == weights[0, 0]).all()


def test_a_correlated_gaussian_has_its_total_correlation():
    correlation, noise, num = 0.8, 0.4, 1500
    covariance = np.array([[1, correlation], [correlation, 1]])
    rng = np.random.default_rng(0)
    mean = rng.multivariate_normal(np.zeros(2), covariance - noise**2 * np.eye(2), num)
    scales = np.full((num, 2), np.log(noise), np.float32)
    posterior = Normal(*map(jnp.asarray, (mean.astype(np.float32), scales)))
    weights = log_importance_weights("stratified", num, num)
    prior = Normal(*map(jnp.asarray, np.zeros((2, 2), np.float32)))
    latents = np.exp(scales) * rng.normal(size=(num, 2)) + mean
    terms = decompose(posterior, prior, jnp.asarray(latents.astype(np.float32)), weights)
    assert np.mean(terms.total_correlation) == pytest.approx(
        -0.5 * np.log(1 - correlation**2), abs=0.05
    )
    information = 0.5 * np.log(np.linalg.det(covariance)) - 2 * np.log(noise)
    assert np.mean(terms.mutual_information) == pytest.approx(information, abs=0.05)
    # The aggregate has the prior's marginals.
    assert np.mean(terms.dimensionwise_kl) == pytest.approx(0, abs=0.02)
