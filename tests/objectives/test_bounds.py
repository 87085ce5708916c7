"""Importance-weighted bounds and their gradient estimators, on a solved model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_models import LinearGaussian, assert_equal_means

from vae_jax.objectives import bounds

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


def gradients(name, k, num, *, groups=1, seed=0):
    """Return `num` independent gradients of posterior and decoder, each `[num, parameters]`."""

    def gradient(key):
        grad = jax.grad(lambda p: bound_of(name, nnx.merge(GRAPHDEF, p), key, k, groups))(PARAMS)
        state = nnx.to_pure_dict(grad)
        return tuple(
            jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state[part])])
            for part in ("posterior", "decoder")
        )

    keys = jax.random.split(jax.random.key(seed), num)
    return [np.asarray(g, np.float64) for g in jax.jit(jax.vmap(gradient))(keys)]


@pytest.mark.parametrize("k", [1, 7])
def test_with_the_exact_posterior_every_weight_is_log_p(k):
    exact = LinearGaussian()
    log_weights = np.asarray(weights(k, case=exact))
    expected = np.broadcast_to(exact.log_likelihood(np.asarray(IMAGES)), log_weights.shape)
    np.testing.assert_allclose(log_weights, expected, atol=2e-5)


def test_the_bounds_lie_in_their_order_below_log_p():
    draws = 3000
    sizes = (1, 2, 8, 32)
    means, errors = [], []
    for k in sizes:
        samples = weights(k * draws, seed=k).reshape(k, draws, -1)
        bound = jax.jit(jax.vmap(bounds.iwae_bound, in_axes=1))(samples)
        bound = np.asarray(bound, np.float64)
        means.append(bound.mean(axis=0))
        errors.append(bound.std(axis=0) / np.sqrt(draws))
    log_p = CASE.log_likelihood(np.asarray(IMAGES))
    np.testing.assert_array_less(np.abs(means[0] - (log_p - CASE.gap)), 5 * errors[0])
    for i in range(len(sizes) - 1):
        assert (means[i] < means[i + 1] + 3 * (errors[i] + errors[i + 1])).all()
        assert means[i].mean() < means[i + 1].mean()
    assert (means[-1] < log_p + 4 * errors[-1]).all()
    assert np.abs(means[-1] - log_p).max() < 0.1 * CASE.gap


def test_grouped_and_combined_bounds_are_made_of_their_parts():
    w = weights(12)
    elbo, iwae = jax.jit(lambda w: (bounds.elbo(w), bounds.iwae_bound(w)))(w)
    miwae = jax.jit(bounds.miwae_bound, static_argnums=1)
    group = jax.jit(bounds.iwae_bound)
    by_hand = np.mean([group(each) for each in np.split(np.asarray(w), 3)], axis=0)
    np.testing.assert_allclose(miwae(w, 3), by_hand, rtol=1e-6)
    np.testing.assert_allclose(miwae(w, 12), elbo, rtol=1e-6)
    np.testing.assert_allclose(miwae(w, 1), iwae, rtol=1e-6)
    combined = jax.jit(bounds.ciwae_bound)
    for share in np.float32([0.0, 0.05, 1.0]):
        expected = share * np.asarray(elbo) + (1 - share) * np.asarray(iwae)
        np.testing.assert_allclose(combined(w, share), expected, rtol=1e-6)


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
    plain, sticking = gradients("elbo", 1, 4000), gradients("sticking elbo", 1, 4000, seed=1)
    assert_equal_means(plain[0], sticking[0])
    assert_equal_means(plain[1], sticking[1])
    # Near the optimum most of the plain estimator's variance is the score that is left out.
    assert sticking[0].var(axis=0).sum() < plain[0].var(axis=0).sum()


def test_the_doubly_reparameterised_gradient_has_the_bounds_expectation_and_less_variance():
    plain, doubly = gradients("iwae", 8, 6000), gradients("dreg", 8, 6000, seed=1)
    assert_equal_means(plain[0], doubly[0])
    assert doubly[0].var(axis=0).sum() < 0.5 * plain[0].var(axis=0).sum()
    # The decoder's gradient is the same function of the same draws.
    same = gradients("dreg", 8, 50)
    np.testing.assert_allclose(same[1], gradients("iwae", 8, 50)[1], rtol=2e-3, atol=2e-4)


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
        gradient = gradients(name, k, 4000, seed=k)[0]
        return np.median(np.abs(gradient.mean(axis=0)) / gradient.std(axis=0))

    plain = [ratio("iwae", k) for k in (1, 8, 64)]
    doubly = [ratio("dreg", k) for k in (1, 8, 64)]
    assert plain[0] > 1.5 * plain[1] > 1.5 * 1.5 * plain[2]
    assert doubly[2] > doubly[1] > doubly[0]


def test_piwae_trains_the_decoder_by_iwae_and_the_encoder_by_miwae():
    partial = gradients("piwae", 4, 5, groups=3)
    np.testing.assert_allclose(
        partial[0], gradients("miwae", 4, 5, groups=3)[0], rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(partial[1], gradients("iwae", 12, 5)[1], rtol=1e-3, atol=1e-4)


def test_the_sampled_kl_and_several_samples_have_the_expectation_of_the_closed_form():
    def terms(key, **options):
        return bounds.elbo_terms(CASE.model, IMAGES, IMAGES, key, **options).elbo

    keys = jax.random.split(jax.random.key(0), 3000)
    options = [{}, {"sampled_kl": True}, {"num_samples": 4}, {"num_samples": 4, "sampled_kl": True}]
    programs = [jax.jit(jax.vmap(functools.partial(terms, **each))) for each in options]
    draws = [np.asarray(program(keys), np.float64) for program in programs]
    log_p = CASE.log_likelihood(np.asarray(IMAGES))
    for samples in draws:
        error = samples.std(axis=0) / np.sqrt(len(keys))
        np.testing.assert_array_less(np.abs(samples.mean(axis=0) - (log_p - CASE.gap)), 5 * error)
    assert (draws[2].var(axis=0) < 0.5 * draws[0].var(axis=0)).all()
