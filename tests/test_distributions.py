import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vae_jax.distributions import Bernoulli, Normal, kl_by_dimension, kl_divergence, softplus

# One fixed shape: every new shape compiles anew.
few = settings(max_examples=30, deadline=None)


def arrays(shape, low, high):
    elements = st.floats(low, high, width=32, allow_subnormal=False)
    return hnp.arrays(np.float32, shape, elements=elements)


def random_normal(seed, *shape):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=shape).astype(np.float32)
    log_scale = rng.normal(scale=0.5, size=shape).astype(np.float32)
    return Normal(jnp.asarray(mean), jnp.asarray(log_scale))


def normal_log_density(value, mean, log_scale):
    value, mean, log_scale = (np.asarray(x, np.float64) for x in (value, mean, log_scale))
    return -0.5 * ((value - mean) / np.exp(log_scale)) ** 2 - log_scale - np.log(2 * np.pi) / 2


@few
@given(mean=arrays((2,), -3, 3), log_scale=arrays((2,), -2, 2))
def test_a_normal_density_integrates_to_one(mean, log_scale):
    steps = np.linspace(-8, 8, 161, dtype=np.float32)
    scale = np.exp(log_scale)
    axes = [mean[i] + scale[i] * steps for i in range(2)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    density = np.exp(Normal(jnp.asarray(mean), jnp.asarray(log_scale)).log_prob(jnp.asarray(grid)))
    assert density.shape == (161, 161)
    cell = (scale * (steps[1] - steps[0])).prod()
    assert density.sum(dtype=np.float64) * cell == pytest.approx(1, abs=1e-4)


@few
@given(logits=arrays((6,), -20, 20))
def test_bernoulli_probabilities_of_all_binary_vectors_sum_to_one(logits):
    values = np.array(list(itertools.product([0, 1], repeat=6)), np.float32)
    probabilities = np.exp(Bernoulli(jnp.asarray(logits)).log_prob(jnp.asarray(values)))
    assert probabilities.shape == (64,)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_bernoulli_log_prob_is_the_log_of_its_mean():
    logits = jnp.linspace(-6, 6, 13)[:, None]
    bernoulli = Bernoulli(logits)
    ones = bernoulli.log_prob(jnp.ones_like(logits))
    zeros = bernoulli.log_prob(jnp.zeros_like(logits))
    np.testing.assert_allclose(np.exp(ones), bernoulli.mean[:, 0], rtol=1e-5)
    np.testing.assert_allclose(np.exp(zeros), 1 - bernoulli.mean[:, 0], rtol=1e-4)


def test_bernoulli_log_prob_of_a_grey_value_is_the_cross_entropy():
    probability, grey = 0.3, 0.6
    logits = jnp.full((1,), np.log(probability / (1 - probability)))
    expected = grey * np.log(probability) + (1 - grey) * np.log(1 - probability)
    np.testing.assert_allclose(
        Bernoulli(logits).log_prob(jnp.full((1,), grey)), expected, rtol=1e-5
    )


def test_bernoulli_log_prob_and_gradient_stay_finite_at_extreme_logits():
    logits = jnp.array([-1e4, 1e4, 0.0])
    wrong = jnp.array([1.0, 0.0, 1.0])
    value, gradient = jax.value_and_grad(lambda x: Bernoulli(x).log_prob(wrong))(logits)
    np.testing.assert_allclose(value, -2e4 - np.log(2), rtol=1e-6)
    np.testing.assert_allclose(gradient, [1, -1, 0.5])


@pytest.mark.parametrize(("event_ndim", "event"), [(1, (6,)), (3, (2, 3, 1))])
def test_log_prob_sums_the_event_and_keeps_batch_and_sample_axes(event_ndim, event):
    rng = np.random.default_rng(0)
    parameters = rng.normal(size=(4, 5, *event)).astype(np.float32)
    value = (rng.random(size=(5, *event)) < 0.5).astype(np.float32)
    axes = tuple(range(-event_ndim, 0))

    normal = Normal(jnp.asarray(parameters), jnp.asarray(0.3 * parameters), event_ndim)
    expected = normal_log_density(value, parameters, 0.3 * parameters).sum(axis=axes)
    assert expected.shape == (4, 5)
    np.testing.assert_allclose(normal.log_prob(jnp.asarray(value)), expected, rtol=1e-5)

    log_probabilities = value * parameters - np.logaddexp(0, parameters.astype(np.float64))
    bernoulli = Bernoulli(jnp.asarray(parameters), event_ndim)
    np.testing.assert_allclose(
        bernoulli.log_prob(jnp.asarray(value)), log_probabilities.sum(axis=axes), rtol=1e-5
    )


def test_values_may_carry_a_sample_axis_that_the_parameters_lack():
    normal = random_normal(0, 5, 3)
    samples = jax.random.normal(jax.random.key(0), (7, 5, 3))
    expected = normal_log_density(samples, normal.mean, normal.log_scale).sum(axis=-1)
    np.testing.assert_allclose(normal.log_prob(samples), expected, rtol=1e-5)


@pytest.mark.parametrize("log_scale_shape", [(), (1,), (3, 1), (2, 3, 1), (4, 1, 1, 1)])
def test_a_log_scale_that_broadcasts_equals_the_full_one(log_scale_shape):
    mean = jax.random.normal(jax.random.key(0), (4, 2, 3, 1))
    value = jax.random.normal(jax.random.key(1), (4, 2, 3, 1))
    log_scale = jax.random.normal(jax.random.key(2), log_scale_shape)
    small = Normal(mean, log_scale, event_ndim=3)
    full = Normal(mean, jnp.broadcast_to(log_scale, mean.shape), event_ndim=3)
    expected = normal_log_density(value, mean, full.log_scale).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(small.log_prob(value), expected, rtol=1e-5)
    np.testing.assert_allclose(full.log_prob(value), expected, rtol=1e-5)
    np.testing.assert_array_equal(small.sample(jax.random.key(3)), full.sample(jax.random.key(3)))


def test_kl_is_the_closed_form_of_two_normals():
    q, p = random_normal(0, 7, 3), random_normal(1, 7, 3)
    q_mean, p_mean = np.asarray(q.mean, np.float64), np.asarray(p.mean, np.float64)
    q_variance = np.exp(2 * np.asarray(q.log_scale, np.float64))
    p_variance = np.exp(2 * np.asarray(p.log_scale, np.float64))
    expected = 0.5 * (
        np.log(p_variance / q_variance) + (q_variance + (q_mean - p_mean) ** 2) / p_variance - 1
    )
    np.testing.assert_allclose(kl_by_dimension(q, p), expected, rtol=1e-4, atol=1e-6)


def test_kl_is_the_expected_log_ratio_under_q():
    q, p = random_normal(2, 3), random_normal(3, 3)
    z = np.asarray(jax.vmap(q.sample)(jax.random.split(jax.random.key(0), 100_000)))
    log_ratio = normal_log_density(z, q.mean, q.log_scale) - normal_log_density(
        z, p.mean, p.log_scale
    )
    estimate, error = log_ratio.mean(axis=0), log_ratio.std(axis=0) / np.sqrt(len(z))
    assert (error < 0.05).all()
    assert (np.abs(kl_by_dimension(q, p) - estimate) < 5 * error).all()
    assert not np.allclose(kl_by_dimension(p, q), estimate, atol=0.1)


@few
@given(mean=arrays((4,), -3, 3), log_scale=arrays((4,), -3, 3), shift=arrays((2, 4), 1 / 64, 2))
def test_kl_is_zero_only_between_equals(mean, log_scale, shift):
    q = Normal(jnp.asarray(mean), jnp.asarray(log_scale))
    np.testing.assert_array_equal(kl_by_dimension(q, q), np.zeros(4))
    assert (kl_by_dimension(q, Normal(q.mean + shift[0], q.log_scale)) > 0).all()
    assert (kl_by_dimension(q, Normal(q.mean, q.log_scale + shift[1])) > 0).all()
    assert (kl_by_dimension(q, Normal(q.mean, q.log_scale - shift[1])) > 0).all()


def test_kl_of_nearly_equal_scales_keeps_its_digits():
    ratio = jnp.array([1e-3, -1e-3, 3e-3])
    q = Normal(jnp.zeros(3), ratio)
    # 0.5 (exp(2 r) - 1) - r = r^2 + 2/3 r^3 + ...
    expected = np.asarray(ratio, np.float64) ** 2 * (1 + 2 / 3 * np.asarray(ratio))
    np.testing.assert_allclose(
        kl_by_dimension(q, Normal(jnp.zeros(3), jnp.zeros(3))), expected, rtol=1e-3
    )


@pytest.mark.parametrize(("event_ndim", "batch"), [(1, (2, 3, 4)), (3, (2,)), (2, (2, 3))])
def test_kl_divergence_is_the_sum_of_the_dimensions(event_ndim, batch):
    q, p = random_normal(4, 2, 3, 4, 5), random_normal(5, 5)
    q = Normal(q.mean, q.log_scale, event_ndim)
    divergence = kl_divergence(q, p)
    assert divergence.shape == batch
    summed = np.asarray(kl_by_dimension(q, p), np.float64).sum(axis=tuple(range(-event_ndim, 0)))
    np.testing.assert_allclose(divergence, summed, rtol=1e-5)


def test_softplus_and_its_derivatives_at_the_extremes():
    x = jnp.array([-1e4, -30.0, -1.0, 0.0, 1.0, 30.0, 1e4])
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(softplus(x), np.logaddexp(0, exact), rtol=1e-6)
    sigmoid = np.exp(-np.logaddexp(0, -exact))
    np.testing.assert_allclose(jax.vmap(jax.grad(softplus))(x), sigmoid, rtol=1e-5, atol=1e-37)
    second = jax.vmap(jax.grad(jax.grad(softplus)))(x)
    np.testing.assert_allclose(second, sigmoid * (1 - sigmoid), rtol=1e-4, atol=1e-7)


@few
@given(x=arrays((8,), -50, 50))
def test_softplus_is_log_one_plus_exp(x):
    expected = np.logaddexp(0, x.astype(np.float64))
    np.testing.assert_allclose(softplus(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-37)


def test_normal_samples_have_the_moments_of_the_distribution():
    normal = random_normal(6, 4)
    samples = np.asarray(jax.vmap(normal.sample)(jax.random.split(jax.random.key(0), 50_000)))
    standardised = (samples - normal.mean) / np.exp(normal.log_scale)
    error = 1 / np.sqrt(len(samples))
    assert (np.abs(standardised.mean(axis=0)) < 5 * error).all()
    assert (np.abs(np.square(standardised).mean(axis=0) - 1) < 5 * np.sqrt(2) * error).all()
    correlation = standardised.T @ standardised / len(samples) - np.eye(4)
    assert (np.abs(correlation) < 5 * np.sqrt(2) * error).all()


def test_normal_samples_are_reparameterised():
    normal, key = random_normal(7, 5), jax.random.key(0)
    by_mean, by_log_scale = jax.jacobian(lambda *q: Normal(*q).sample(key), argnums=(0, 1))(
        normal.mean, normal.log_scale
    )
    noise = normal.sample(key) - normal.mean
    np.testing.assert_allclose(by_mean, np.eye(5), atol=1e-6)
    np.testing.assert_allclose(by_log_scale, np.diag(noise), atol=1e-6)


def test_bernoulli_samples_are_ones_as_often_as_the_mean_says():
    bernoulli = Bernoulli(jnp.array([-2.0, 0.0, 0.5, 3.0, -1e4, 1e4]))
    keys = jax.random.split(jax.random.key(0), 50_000)
    samples = np.asarray(jax.vmap(bernoulli.sample)(keys))
    assert set(np.unique(samples)) == {0, 1}
    mean = np.asarray(bernoulli.mean)
    error = np.sqrt(mean * (1 - mean) / len(samples))
    assert (np.abs(samples.mean(axis=0) - mean) <= 5 * error + 1e-6).all()


@pytest.mark.parametrize("make", [lambda x: Normal(x, 0.1 * x, 2), lambda x: Bernoulli(x, 2)])
def test_distributions_pass_through_jit_and_vmap(make):
    parameters = jax.random.normal(jax.random.key(0), (5, 2, 3))
    value = (jax.random.uniform(jax.random.key(1), (5, 2, 3)) < 0.5).astype(jnp.float32)
    whole = make(parameters)
    expected = whole.log_prob(value)
    assert expected.shape == (5,)
    each = jax.vmap(lambda distribution, x: distribution.log_prob(x))(whole, value)
    np.testing.assert_allclose(each, expected, rtol=1e-5)
    compiled = jax.jit(make)(parameters)
    assert compiled.event_ndim == 2
    jitted = jax.jit(lambda distribution, x: distribution.log_prob(x))(compiled, value)
    np.testing.assert_allclose(jitted, expected, rtol=1e-5)
