"""Importance-weighted bounds and their gradient estimators, on a solved model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special
from small_models import LinearGaussian, assert_equal_means

from vae_jax.objectives import Batch, bounds

CASE = LinearGaussian(shift=0.5, log_stretch=0.3)
IMAGES = jnp.asarray(CASE.draw_images(1, 3))
GRAPHDEF, PARAMS = nnx.split(CASE.model)


def weights(num_samples, seed=0, case=CASE):
    @jax.jit
    def draw(key):
        return bounds.log_weight_terms(
            case.model, IMAGES, IMAGES, key, num_samples=num_samples
        ).log_weights

    return draw(jax.random.key(seed))


def bound_of(name, model, key, k, groups=1):
    """Return the mean bound over the images, by the estimator of that name."""
    options = {"model": model, "inputs": IMAGES, "targets": IMAGES, "key": key}
    if name == "dreg":
        return bounds.doubly_reparameterized(**options, num_samples=k)[0].mean()
    if name == "piwae":
        bound, _ = bounds.piwae_bound(**options, num_samples=k, num_groups=groups)
        return bound.mean()
    sticking = name == "sticking elbo"
    terms = bounds.log_weight_terms(**options, num_samples=groups * k, sticking=sticking)
    bound = {
        "elbo": bounds.elbo,
        "sticking elbo": bounds.elbo,
        "iwae": bounds.iwae_bound,
        "miwae": functools.partial(bounds.miwae_bound, num_groups=groups),
    }[name]
    return bound(terms.log_weights).mean()


NUM = 4000


@functools.partial(jax.jit, static_argnames=("name", "k", "groups", "num"))
def _gradients(seed, *, name, k, groups, num):
    def gradient(key):
        grad = jax.grad(lambda p: bound_of(name, nnx.merge(GRAPHDEF, p), key, k, groups))(PARAMS)
        state = nnx.to_pure_dict(grad)
        return tuple(
            jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state[part])])
            for part in ("posterior", "decoder")
        )

    return jax.vmap(gradient)(jax.random.split(jax.random.key(seed), num))


def gradients(name, k, *, groups=1, seed=0, num=NUM):
    """Return independent gradients of posterior and decoder, each `[num, parameters]`."""
    found = _gradients(seed, name=name, k=k, groups=groups, num=num)
    return [np.asarray(g, np.float64) for g in found]


def test_means_are_over_the_examples_and_their_conditions():
    rng = np.random.default_rng(0)
    log_likelihood, kl = rng.normal(size=(2, 3)), rng.normal(size=(2, 3, 4))
    means = bounds.ElboTerms(*map(jax.device_put, (log_likelihood, kl))).means()
    rate, distortion = kl.sum() / 6, -log_likelihood.sum() / 6
    expected = {"elbo": -rate - distortion, "rate": rate, "distortion": distortion}
    assert {name: float(mean) for name, mean in means.items()} == pytest.approx(expected, rel=1e-5)


def test_with_the_exact_posterior_every_weight_is_log_p():
    exact = LinearGaussian()
    log_weights = np.asarray(weights(7, case=exact))
    expected = np.broadcast_to(exact.log_likelihood(np.asarray(IMAGES)), log_weights.shape)
    np.testing.assert_allclose(log_weights, expected, atol=2e-5)


def test_the_bounds_lie_in_their_order_below_log_p():
    draws = 3000
    sizes = (1, 2, 8, 32)

    @jax.jit
    def bounds_of(samples):
        parts = (samples[: k * draws].reshape(k, draws, -1) for k in sizes)
        return [jax.vmap(bounds.iwae_bound, in_axes=1)(part) for part in parts]

    found = [np.asarray(bound, np.float64) for bound in bounds_of(weights(sizes[-1] * draws))]
    means = [bound.mean(axis=0) for bound in found]
    errors = [bound.std(axis=0) / np.sqrt(draws) for bound in found]
    log_p = CASE.log_likelihood(np.asarray(IMAGES))
    np.testing.assert_array_less(np.abs(means[0] - (log_p - CASE.gap)), 5 * errors[0])
    for i in range(len(sizes) - 1):
        assert (means[i] < means[i + 1] + 3 * (errors[i] + errors[i + 1])).all()
        assert means[i].mean() < means[i + 1].mean()
    assert (means[-1] < log_p + 4 * errors[-1]).all()
    assert np.abs(means[-1] - log_p).max() < 0.1 * CASE.gap


def test_grouped_and_combined_bounds_are_made_of_their_parts():
    shares = np.float32([0.0, 0.05, 1.0])

    @jax.jit
    def parts(w):
        miwae = [bounds.miwae_bound(w, num) for num in (3, 12, 1)]
        combined = jax.vmap(bounds.ciwae_bound, in_axes=(None, 0))(w, shares)
        return bounds.elbo(w), bounds.iwae_bound(w), miwae, combined

    w = weights(12)
    elbo, iwae, miwae, combined = jax.tree.map(np.asarray, parts(w))
    groups = np.asarray(w, np.float64).reshape(3, 4, -1)
    by_hand = np.mean(special.logsumexp(groups, axis=1) - np.log(4), axis=0)
    np.testing.assert_allclose(miwae[0], by_hand, rtol=1e-6)
    np.testing.assert_allclose(miwae[1], elbo, rtol=1e-6)
    np.testing.assert_allclose(miwae[2], iwae, rtol=1e-6)
    expected = shares[:, None] * elbo + (1 - shares[:, None]) * iwae
    np.testing.assert_allclose(combined, expected, rtol=1e-6)


def test_every_estimator_has_the_value_of_its_bound():
    @jax.jit
    def values(key):
        choices = ("iwae", 6), ("dreg", 6), ("piwae", 3, 2), ("elbo", 6), ("sticking elbo", 6)
        return [bound_of(name, CASE.model, key, *sizes) for name, *sizes in choices]

    iwae, dreg, piwae, elbo, sticking = map(float, values(jax.random.key(3)))
    assert dreg == pytest.approx(iwae, abs=1e-5)
    assert piwae == pytest.approx(iwae, abs=1e-5)
    assert sticking == pytest.approx(elbo, abs=1e-5)
    assert elbo < iwae


def test_sticking_the_landing_keeps_the_expected_gradient_of_the_elbo():
    plain, sticking = gradients("elbo", 1), gradients("sticking elbo", 1, seed=1)
    assert_equal_means(plain[0], sticking[0])
    assert_equal_means(plain[1], sticking[1])
    # Near the optimum most of the plain estimator's variance is the score that is left out.
    assert sticking[0].var(axis=0).sum() < plain[0].var(axis=0).sum()


def test_the_doubly_reparameterised_gradient_has_the_bounds_expectation_and_less_variance():
    plain, doubly = gradients("iwae", 8), gradients("dreg", 8, seed=1)
    assert_equal_means(plain[0], doubly[0])
    assert doubly[0].var(axis=0).sum() < 0.5 * plain[0].var(axis=0).sum()
    # The decoder's gradient is the same function of the same draws.
    same = gradients("dreg", 8)
    np.testing.assert_allclose(same[1], plain[1], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize(("setting", "name"), [("plain", "iwae"), ("dreg", "dreg")])
def test_the_objective_has_the_gradient_that_its_settings_name(setting, name):
    objective = bounds.IWAE(num_samples=3, gradient=setting)
    key = jax.random.key(4)

    @jax.jit
    @jax.grad
    def found(params):
        model = nnx.merge(GRAPHDEF, params)
        return objective.bound(model, Batch(IMAGES, IMAGES), key)[0].mean()

    @jax.jit
    @jax.grad
    def expected(params):
        return bound_of(name, nnx.merge(GRAPHDEF, params), key, 3)

    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        nnx.to_pure_dict(found(PARAMS)),
        nnx.to_pure_dict(expected(PARAMS)),
    )


@pytest.mark.parametrize(("name", "k"), [("sticking elbo", 1), ("dreg", 5)])
def test_at_the_exact_posterior_these_estimators_have_no_noise(name, k):
    exact = LinearGaussian()
    graphdef, params = nnx.split(exact.model)

    def value(params, key):
        return bound_of(name, nnx.merge(graphdef, params), key, k)

    gradient = nnx.to_pure_dict(jax.jit(jax.grad(value))(params, jax.random.key(0)))
    for leaf in jax.tree.leaves(gradient["posterior"]):
        np.testing.assert_allclose(leaf, 0, atol=1e-4)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient["decoder"])) > 1e-2


def test_the_signal_to_noise_ratio_falls_with_k_only_for_the_plain_gradient():
    def ratio(name, k):
        gradient = gradients(name, k, seed=k)[0]
        return np.median(np.abs(gradient.mean(axis=0)) / gradient.std(axis=0))

    plain = [ratio("iwae", k) for k in (1, 8, 32)]
    doubly = [ratio("dreg", k) for k in (1, 8, 32)]
    assert plain[0] > 1.5 * plain[1] > 1.5 * 1.5 * plain[2]
    assert doubly[2] > doubly[1] > doubly[0]


def test_piwae_trains_the_decoder_by_iwae_and_the_encoder_by_miwae():
    partial = gradients("piwae", 4, groups=3, num=5)
    encoder, _ = gradients("miwae", 4, groups=3, num=5)
    _, decoder = gradients("iwae", 12, num=5)
    np.testing.assert_allclose(partial[0], encoder, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(partial[1], decoder, rtol=1e-3, atol=1e-4)


def test_the_sampled_kl_and_several_samples_have_the_expectation_of_the_closed_form():
    num = 3000
    options = [{}, {"sampled_kl": True}, {"num_samples": 4}, {"num_samples": 4, "sampled_kl": True}]

    @jax.jit
    @jax.vmap
    def elbos(key):
        terms = functools.partial(bounds.elbo_terms, CASE.model, IMAGES, IMAGES, key)
        return [terms(**each).elbo for each in options]

    keys = jax.random.split(jax.random.key(0), num)
    draws = [np.asarray(samples, np.float64) for samples in elbos(keys)]
    log_p = CASE.log_likelihood(np.asarray(IMAGES))
    for samples in draws:
        error = samples.std(axis=0) / np.sqrt(num)
        np.testing.assert_array_less(np.abs(samples.mean(axis=0) - (log_p - CASE.gap)), 5 * error)
    assert (draws[2].var(axis=0) < 0.5 * draws[0].var(axis=0)).all()
