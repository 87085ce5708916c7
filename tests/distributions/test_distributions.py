import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vae_jax import distributions
from vae_jax.distributions import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Laplace,
    MixtureOfDiscretizedLogistics,
    Normal,
    OptimalScaleNormal,
    bounded_log_scale,
    level_values,
    softplus,
)

# One fixed shape: every new shape compiles anew.
few = settings(max_examples=30, deadline=None)
# One program each; called as they are, every operation is one.
kl_by_dimension = jax.jit(distributions.kl_by_dimension)
kl_divergence = jax.jit(distributions.kl_divergence)


@jax.jit
def log_prob(distribution, value):
    return distribution.log_prob(value)


@jax.jit
def mean_of(distribution):
    return distribution.mean


def float32(rng, *shape):
    return jnp.asarray(rng.normal(size=shape).astype(np.float32))


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
    normal = Normal(jnp.asarray(mean), jnp.asarray(log_scale))
    density = np.exp(log_prob(normal, jnp.asarray(grid)))
    assert density.shape == (161, 161)
    cell = (scale * (steps[1] - steps[0])).prod()
    assert density.sum(dtype=np.float64) * cell == pytest.approx(1, abs=1e-4)


@few
@given(logits=arrays((6,), -20, 20))
def test_bernoulli_probabilities_of_all_binary_vectors_sum_to_one(logits):
    values = np.array(list(itertools.product([0, 1], repeat=6)), np.float32)
    probabilities = np.exp(log_prob(Bernoulli(jnp.asarray(logits)), jnp.asarray(values)))
    assert probabilities.shape == (64,)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_bernoulli_log_prob_is_the_log_of_its_mean():
    logits = np.linspace(-6, 6, 13, dtype=np.float32)[:, None]
    bernoulli = Bernoulli(jnp.asarray(logits))
    ones, zeros = (log_prob(bernoulli, np.full_like(logits, value)) for value in (1, 0))
    mean = np.asarray(mean_of(bernoulli))[:, 0]
    np.testing.assert_allclose(np.exp(ones), mean, rtol=1e-5)
    np.testing.assert_allclose(np.exp(zeros), 1 - mean, rtol=1e-4)


def test_bernoulli_log_prob_of_a_grey_value_is_the_cross_entropy():
    probability, grey = 0.3, 0.6
    logits = jnp.asarray(np.float32([np.log(probability / (1 - probability))]))
    expected = grey * np.log(probability) + (1 - grey) * np.log(1 - probability)
    actual = log_prob(Bernoulli(logits), np.float32([grey]))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_bernoulli_log_prob_and_gradient_stay_finite_at_extreme_logits():
    logits = jnp.array([-1e4, 1e4, 0.0])
    wrong = jnp.array([1.0, 0.0, 1.0])
    value_and_gradient = jax.value_and_grad(lambda x: Bernoulli(x).log_prob(wrong))
    value, gradient = jax.jit(value_and_gradient)(logits)
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
    np.testing.assert_allclose(log_prob(normal, jnp.asarray(value)), expected, rtol=1e-5)

    log_probabilities = value * parameters - np.logaddexp(0, parameters.astype(np.float64))
    bernoulli = Bernoulli(jnp.asarray(parameters), event_ndim)
    expected = log_probabilities.sum(axis=axes)
    np.testing.assert_allclose(log_prob(bernoulli, jnp.asarray(value)), expected, rtol=1e-5)


def test_values_may_carry_a_sample_axis_that_the_parameters_lack():
    normal = random_normal(0, 5, 3)
    samples = float32(np.random.default_rng(0), 7, 5, 3)
    expected = normal_log_density(samples, normal.mean, normal.log_scale).sum(axis=-1)
    np.testing.assert_allclose(log_prob(normal, samples), expected, rtol=1e-5)


@pytest.mark.parametrize("log_scale_shape", [(), (1,), (3, 1), (2, 3, 1), (4, 1, 1, 1)])
def test_a_log_scale_that_broadcasts_equals_the_full_one(log_scale_shape):
    rng = np.random.default_rng(0)
    mean, value = float32(rng, 4, 2, 3, 1), float32(rng, 4, 2, 3, 1)
    log_scale = float32(rng, *log_scale_shape)
    small = Normal(mean, log_scale, event_ndim=3)
    full = Normal(mean, jnp.asarray(np.broadcast_to(log_scale, mean.shape)), event_ndim=3)
    expected = normal_log_density(value, mean, full.log_scale).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(log_prob(small, value), expected, rtol=1e-5)
    np.testing.assert_allclose(log_prob(full, value), expected, rtol=1e-5)
    # Bit for bit where no compiler fuses the operations.
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
    keys = jax.random.split(jax.random.key(0), 100_000)
    z = np.asarray(jax.jit(jax.vmap(q.sample))(keys))
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
    for other in ((mean + shift[0], log_scale), (mean, log_scale + shift[1])):
        assert (np.asarray(kl_by_dimension(q, Normal(*map(jnp.asarray, other)))) > 0).all()
    other = Normal(jnp.asarray(mean), jnp.asarray(log_scale - shift[1]))
    assert (np.asarray(kl_by_dimension(q, other)) > 0).all()


def test_kl_of_nearly_equal_scales_keeps_its_digits():
    ratio, zeros = (
        jnp.asarray(np.float32([1e-3, -1e-3, 3e-3])),
        jnp.asarray(np.zeros(3, np.float32)),
    )
    q = Normal(zeros, ratio)
    # 0.5 (exp(2 r) - 1) - r = r^2 + 2/3 r^3 + ...
    expected = np.asarray(ratio, np.float64) ** 2 * (1 + 2 / 3 * np.asarray(ratio))
    np.testing.assert_allclose(kl_by_dimension(q, Normal(zeros, zeros)), expected, rtol=1e-3)


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
    first = jax.jit(jax.vmap(jax.grad(softplus)))(x)
    np.testing.assert_allclose(first, sigmoid, rtol=1e-5, atol=1e-37)
    second = jax.jit(jax.vmap(jax.grad(jax.grad(softplus))))(x)
    np.testing.assert_allclose(second, sigmoid * (1 - sigmoid), rtol=1e-4, atol=1e-7)


@few
@given(x=arrays((8,), -50, 50))
def test_softplus_is_log_one_plus_exp(x):
    expected = np.logaddexp(0, x.astype(np.float64))
    np.testing.assert_allclose(softplus(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-37)


def test_normal_samples_have_the_moments_of_the_distribution():
    normal = random_normal(6, 4)
    keys = jax.random.split(jax.random.key(0), 50_000)
    samples = np.asarray(jax.jit(jax.vmap(normal.sample))(keys))
    standardised = (samples - np.asarray(normal.mean)) / np.exp(normal.log_scale)
    error = 1 / np.sqrt(len(samples))
    assert (np.abs(standardised.mean(axis=0)) < 5 * error).all()
    assert (np.abs(np.square(standardised).mean(axis=0) - 1) < 5 * np.sqrt(2) * error).all()
    correlation = standardised.T @ standardised / len(samples) - np.eye(4)
    assert (np.abs(correlation) < 5 * np.sqrt(2) * error).all()


def test_normal_samples_are_reparameterised():
    normal, key = random_normal(7, 5), jax.random.key(0)
    jacobians = jax.jit(jax.jacobian(lambda *q: Normal(*q).sample(key), argnums=(0, 1)))
    by_mean, by_log_scale = jacobians(normal.mean, normal.log_scale)
    noise = np.asarray(normal.sample(key)) - np.asarray(normal.mean)
    np.testing.assert_allclose(by_mean, np.eye(5), atol=1e-6)
    np.testing.assert_allclose(by_log_scale, np.diag(noise), atol=1e-6)


def test_bernoulli_samples_are_ones_as_often_as_the_mean_says():
    bernoulli = Bernoulli(jnp.array([-2.0, 0.0, 0.5, 3.0, -1e4, 1e4]))
    keys = jax.random.split(jax.random.key(0), 50_000)
    samples = np.asarray(jax.jit(jax.vmap(bernoulli.sample))(keys))
    assert set(np.unique(samples)) == {0, 1}
    mean = np.asarray(mean_of(bernoulli))
    error = np.sqrt(mean * (1 - mean) / len(samples))
    assert (np.abs(samples.mean(axis=0) - mean) <= 5 * error + 1e-6).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda x: Normal(x, 0.1 * x, 2),
        lambda x: Bernoulli(x, 2),
        lambda x: ContinuousBernoulli(x, 2),
        lambda x: Laplace(x, 0.1 * x, 2),
        lambda x: DiscretizedLogistic(x, 0.1 * x, 2),
        lambda x: MixtureOfDiscretizedLogistics(*[jnp.stack([x, -x], axis=-1)] * 3, 2),
        lambda x: Categorical(x[..., None] * level_values(), 2),
    ],
)
def test_distributions_pass_through_jit_and_vmap(make):
    rng = np.random.default_rng(0)
    parameters, value = float32(rng, 5, 2, 3), rng.integers(0, 2, (5, 2, 3)).astype(np.float32)

    @jax.jit
    def run(parameters, value):
        whole = make(parameters)
        each = jax.vmap(lambda distribution, x: distribution.log_prob(x))(whole, value)
        return whole, whole.log_prob(value), each, whole.mean, whole.sample(jax.random.key(2))

    whole, expected, each, mean, sample = run(parameters, value)
    assert whole.event_ndim == 2
    assert expected.shape == (5,)
    assert mean.shape == sample.shape == (5, 2, 3)
    np.testing.assert_allclose(each, expected, rtol=1e-5)
    np.testing.assert_allclose(log_prob(whole, value), expected, rtol=1e-5)


def log_logistic_masses(location, log_scale):
    """Return the log probabilities of the levels in double precision.

    The survival function gives the tails.
    """
    edges = (np.arange(255) + 0.5) / 255
    logistic = scipy.stats.logistic(location, np.exp(log_scale))
    edges = np.concatenate([[-np.inf], edges, [np.inf]])
    below, above = np.diff(logistic.cdf(edges)), -np.diff(logistic.sf(edges))
    return np.log(np.where(edges[1:] < location, below, above))


@jax.jit
def level_log_probs(distribution):
    """Return the log probability of each of the 256 levels of one pixel."""
    return distribution.log_prob(level_values()[:, None])


def level_probabilities(distribution):
    return np.exp(np.asarray(level_log_probs(distribution), np.float64))


@few
@given(location=arrays((1,), -3, 4), log_scale=arrays((1,), -8, 8))
def test_the_levels_of_a_discretized_logistic_sum_to_one(location, log_scale):
    distribution = DiscretizedLogistic(jnp.asarray(location), jnp.asarray(log_scale))
    probabilities = level_probabilities(distribution)
    assert probabilities.shape == (256,)
    # Rounding the location to float32 matters for a narrow logistic.
    assert probabilities.sum() == pytest.approx(1, abs=3e-6 + 3e-7 * float(np.exp(-log_scale[0])))


@few
@given(
    logits=arrays((1, 3), -20, 20), location=arrays((1, 3), -1, 2), log_scale=arrays((1, 3), -6, 4)
)
def test_the_levels_of_a_mixture_of_discretized_logistics_sum_to_one(logits, location, log_scale):
    parameters = (jnp.asarray(x) for x in (logits, location, log_scale))
    probabilities = level_probabilities(MixtureOfDiscretizedLogistics(*parameters))
    assert probabilities.shape == (256,)
    assert probabilities.sum() == pytest.approx(1, abs=1e-4)


@few
@given(logits=arrays((1, 256), -50, 50))
def test_the_levels_of_a_categorical_sum_to_one(logits):
    probabilities = level_probabilities(Categorical(jnp.asarray(logits)))
    assert probabilities.shape == (256,)
    assert probabilities.sum() == pytest.approx(1, abs=3e-5)


@few
@given(logit=arrays((1,), -200, 200))
def test_a_continuous_bernoulli_density_integrates_to_one(logit):
    grid = np.linspace(0, 1, 20_001, dtype=np.float32)
    log_density = log_prob(ContinuousBernoulli(jnp.asarray(logit)), grid[:, None])
    density = np.exp(np.asarray(log_density, np.float64))
    assert scipy.integrate.trapezoid(density, dx=1 / 20_000) == pytest.approx(1, abs=5e-5)


@few
@given(mean=arrays((1,), -3, 3), log_scale=arrays((1,), -2, 2))
def test_a_laplace_density_integrates_to_one(mean, log_scale):
    steps = np.linspace(-20, 20, 8001, dtype=np.float32)
    grid = mean + np.exp(log_scale) * steps
    log_density = log_prob(Laplace(jnp.asarray(mean), jnp.asarray(log_scale)), grid[:, None])
    density = np.exp(np.asarray(log_density, np.float64))
    total = scipy.integrate.trapezoid(density, dx=0.005 * np.exp(log_scale[0]))
    assert total == pytest.approx(1, abs=1e-4)


def test_log_densities_are_those_of_scipy():
    rng = np.random.default_rng(0)
    mean, log_scale, value = (rng.normal(size=50).astype(np.float32) for _ in range(3))
    for family, reference in ((Laplace, scipy.stats.laplace), (Normal, scipy.stats.norm)):
        expected = reference.logpdf(value.astype(np.float64), mean, np.exp(log_scale))
        distribution = family(jnp.asarray(mean)[:, None], jnp.asarray(log_scale)[:, None])
        by_element = log_prob(distribution, value[:, None])
        np.testing.assert_allclose(by_element, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("location", "log_scale"),
    [(0.5, -2.0), (0.2, -5.5), (0.999, -4.0), (-0.7, -1.0), (1.3, -2.5), (0.4, 2.0), (0.0, -5.0)],
)
def test_levels_have_the_logistic_mass_around_them_and_the_outermost_the_rest(location, log_scale):
    parameters = (jnp.asarray(np.float32([value])) for value in (location, log_scale))
    distribution = DiscretizedLogistic(*parameters)
    expected = log_logistic_masses(np.float64(np.float32(location)), log_scale)
    np.testing.assert_allclose(level_log_probs(distribution), expected, rtol=2e-5, atol=3e-4)


def test_a_mixture_weighs_its_components_by_their_probabilities():
    logits, location, log_scale = np.array([[0.3, -1.0]]), np.array([[0.2, 0.7]]), [[-4.0, -2.0]]
    mixture = MixtureOfDiscretizedLogistics(
        *(jnp.asarray(x, jnp.float32) for x in (logits, location, log_scale))
    )
    weights = scipy.special.softmax(logits[0])
    masses = [np.exp(log_logistic_masses(location[0, i], log_scale[0][i])) for i in range(2)]
    expected = weights[0] * masses[0] + weights[1] * masses[1]
    np.testing.assert_allclose(level_probabilities(mixture), expected, rtol=1e-4)


RANDOM = np.random.default_rng(3).normal(size=(3, 2, 3, 1, 256)).astype(np.float32)


@pytest.mark.parametrize(
    "distribution",
    [
        Categorical(jnp.asarray(3 * RANDOM[0]), 3),
        DiscretizedLogistic(jnp.asarray(RANDOM[0, ..., 0]), jnp.asarray(-3.0), 3),
        MixtureOfDiscretizedLogistics(*jnp.asarray(RANDOM[..., :4]), 3),
        # All the mass lies between the middles of two levels, or far outside.
        DiscretizedLogistic(jnp.asarray(3 * RANDOM[0, ..., 0]), jnp.asarray(-8.0), 3),
    ],
)
def test_the_probability_of_an_interval_is_that_of_its_levels(distribution):
    shape = (2, 3, 1)
    single = dataclasses.replace(distribution, event_ndim=0)
    log_probs = jax.vmap(lambda value: single.log_prob(jnp.full(shape, value)))
    levels = jax.jit(log_probs)(level_values())
    probabilities = np.exp(np.asarray(levels, np.float64))
    assert probabilities.shape == (256, *shape)
    rng = np.random.default_rng(0)
    interval = jax.jit(distribution.interval_probability)
    for low, high in [(0, 256), (0, 1), (255, 256), (0, 128), (128, 256), (90, 91), (97, 203)]:
        ends = np.full(shape, float(low)), np.full(shape, float(high))
        actual = interval(*map(jnp.asarray, ends))
        expected = probabilities[low:high].sum(axis=0)
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-30)
    low = rng.integers(0, 256, shape)
    actual = interval(jnp.asarray(low, float), jnp.asarray(low + 1.0))
    expected = np.take_along_axis(probabilities, low[None], axis=0)[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-30)


def test_log_probabilities_of_levels_are_the_log_softmax_of_their_logits():
    logits = np.random.default_rng(0).normal(scale=5, size=(1, 256)).astype(np.float32)
    expected = scipy.special.log_softmax(logits[0].astype(np.float64))
    actual = level_log_probs(Categorical(jnp.asarray(logits)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@few
@given(logit=arrays((64,), -40, 40))
def test_a_continuous_bernoulli_is_a_bernoulli_times_its_normaliser(logit):
    logit = np.concatenate([logit, [0, 1e-6, -1e-3, 0.01, -0.5, 0.999, -1.001]]).astype(np.float32)
    value = np.linspace(0, 1, len(logit), dtype=np.float32)
    exact = logit.astype(np.float64)
    # C(lambda) = 2 atanh(1 - 2 lambda) / (1 - 2 lambda) = logit / tanh(logit / 2), 2 at 0.
    half = np.where(exact == 0, 1, exact / 2)
    normaliser = np.where(exact == 0, 2, 2 * half / np.tanh(half))
    expected = value * exact - np.logaddexp(0, exact) + np.log(normaliser)
    actual = log_prob(ContinuousBernoulli(jnp.asarray(logit)[:, None]), value[:, None])
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=2e-6)


def test_a_continuous_bernoulli_keeps_its_digits_around_one_half():
    logit = np.array([-3, -1.01, -0.99, -0.3, -1e-2, -1e-4, 0, 1e-4, 0.02, 0.7, 0.999, 1.001, 5])
    # 1 / (1 - exp(-a)) - 1 / a in double precision, by its series where that loses digits too.
    safe = np.where(np.abs(logit) < 0.01, 1, logit)
    closed = -1 / np.expm1(-safe) - 1 / safe
    expected = np.where(np.abs(logit) < 0.01, 0.5 + logit / 12, closed)
    mean = mean_of(ContinuousBernoulli(jnp.asarray(logit, jnp.float32)))
    np.testing.assert_allclose(mean, expected, rtol=3e-7)


PIXEL = {
    "continuous bernoulli": ContinuousBernoulli(
        jnp.array([-300.0, -8.0, -0.5, -2e-3, -5e-4, 0, 2e-4, 1.5, 30.0])
    ),
    "laplace": Laplace(jnp.array([-2.0, 0.5]), jnp.array([0.3, -3.0])),
    "discretized logistic": DiscretizedLogistic(
        jnp.array([0.5, 0.1, 0.9, -0.5, 1.1, 0.301]), jnp.array([-3.0, -2.0, -1.0, 0.0, -2.0, -8.0])
    ),
    "mixture": MixtureOfDiscretizedLogistics(
        jnp.array([[0.0, 1.0], [-2.0, 2.0]]),
        jnp.array([[0.1, 0.8], [0.4, 1.2]]),
        jnp.array([[-4.0, -2.0], [-1.0, -3.0]]),
    ),
    "categorical": Categorical(
        jnp.stack([jnp.zeros(256), 6 * level_values(), -jnp.square(20 * level_values() - 7)])
    ),
}


@pytest.fixture(scope="module", params=PIXEL)
def pixels_and_samples(request):
    distribution = PIXEL[request.param]
    keys = jax.random.split(jax.random.key(0), 10_000)
    samples = jax.jit(lambda distribution: jax.vmap(distribution.sample)(keys))(distribution)
    return distribution, np.asarray(samples, np.float64)


def test_samples_agree_with_the_mean(pixels_and_samples):
    distribution, samples = pixels_and_samples
    error = samples.std(axis=0) / np.sqrt(len(samples))
    mean = np.asarray(mean_of(distribution))
    assert samples.shape[1:] == mean.shape
    assert (np.abs(samples.mean(axis=0) - mean) < 5 * error + 1e-6).all()


def grid_of(distribution, i):
    """Return values that hold all of the probability of pixel i, and the step between them."""
    if isinstance(distribution, ContinuousBernoulli):
        return np.linspace(0, 1, 20_001), 1 / 20_000
    if isinstance(distribution, Laplace):
        scale = np.exp(float(distribution.log_scale[i]))
        return float(distribution.mean[i]) + scale * np.linspace(-20, 20, 8001), 0.005 * scale
    return np.arange(256) / 255, 1


def test_samples_are_spread_as_the_log_probabilities_say(pixels_and_samples):
    distribution, samples = pixels_and_samples
    for i in range(samples.shape[1]):
        pixel = jax.tree.map(lambda x, i=i: jnp.asarray(np.asarray(x)[i : i + 1]), distribution)
        grid, step = grid_of(distribution, i)
        log_weight = log_prob(pixel, np.asarray(grid, np.float32)[:, None])
        weight = np.exp(np.asarray(log_weight, np.float64))
        discrete = len(grid) == 256
        expected = np.cumsum(weight) - (0 if discrete else 0.5 * (weight + weight[0]))
        expected *= step
        below = np.searchsorted(np.sort(samples[:, i]), grid + 1e-6, side="right") / len(samples)
        # The Kolmogorov-Smirnov bound, exceeded with a probability below 1e-4.
        assert np.abs(below - expected).max() < 2.3 / np.sqrt(len(samples))


@pytest.mark.parametrize("kind", [Bernoulli, ContinuousBernoulli])
def test_the_log_probability_of_a_value_is_linear_in_it(kind):
    logits, values = np.float32([-3.0, -0.1, 0.4, 8.0]), np.float32([0.0, 0.3, 0.5, 1.0])

    @jax.jit
    @jax.grad
    def slope(values):
        return kind(jnp.asarray(logits)).log_prob(values)

    np.testing.assert_allclose(slope(values), logits, rtol=1e-6)


def test_continuous_bernoulli_samples_are_reparameterised():
    logits = np.float32([[-30.0, -3.0, -1e-2, 0.0, 5e-4, 2.0, 100.0]]).repeat(20_000, axis=0)

    @jax.jit
    def slopes_of_samples_and_mean(logits):
        samples = jax.grad(lambda x: ContinuousBernoulli(x).sample(jax.random.key(0)).sum())
        return samples(logits), jax.grad(lambda x: ContinuousBernoulli(x).mean.sum())(logits[0])

    slopes, expected = map(np.asarray, slopes_of_samples_and_mean(logits))
    error = slopes.std(axis=0) / np.sqrt(len(slopes))
    assert (np.abs(slopes.mean(axis=0) - expected) < 5 * error + 1e-6).all()


EXTREMES = np.float32([-1e4, -90.0, -1.0, 0.0, 1e-8, 0.5, 1.0, 90.0, 1e4])


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: ContinuousBernoulli(x),
        lambda x, y: Laplace(x, bounded_log_scale(y)),
        lambda x, y: Normal(x, bounded_log_scale(y)),
        lambda x, y: DiscretizedLogistic(x, bounded_log_scale(y)),
        lambda x, y: MixtureOfDiscretizedLogistics(
            jnp.stack([y, x], axis=-1),
            jnp.stack([x, y], axis=-1),
            bounded_log_scale(jnp.stack([y, x], axis=-1)),
        ),
        lambda x, y: Categorical(
            x[..., None] * level_values() + y[..., None] * (level_values() > 0.5)
        ),
    ],
    ids=["continuous bernoulli", "laplace", "normal", "logistic", "mixture", "categorical"],
)
def test_log_probs_and_gradients_stay_finite_at_extreme_parameters(make):
    x, y = (np.ravel(a)[:, None] for a in np.meshgrid(EXTREMES, EXTREMES))

    @jax.jit
    def extremes(x, y, value):
        def log_prob(x, y):
            return make(x, y).log_prob(value).sum()

        return make(x, y).log_prob(value), jax.grad(log_prob, argnums=(0, 1))(x, y), make(x, y).mean

    for value in (0.0, 128 / 255, 1.0):
        for leaf in jax.tree.leaves(extremes(x, y, np.full_like(x, value))):
            assert np.isfinite(leaf).all()


def test_a_value_is_read_as_the_nearest_level():
    values = np.float32([-0.3, 0.0019, 0.0021, 0.4993, 1.4])[:, None]
    levels = np.float32([0, 0, 1, 127, 255])[:, None] / np.float32(255)
    logistic = DiscretizedLogistic(*(jnp.asarray(np.float32([value])) for value in (0.4, -1)))
    for distribution in (logistic, Categorical(float32(np.random.default_rng(0), 1, 256))):
        np.testing.assert_array_equal(
            log_prob(distribution, values), log_prob(distribution, levels)
        )


def test_the_optimal_scale_acts_on_gradients_alone():
    rng = np.random.default_rng(0)
    mean, value = float32(rng, 4, 3, 5), float32(rng, 3, 5)

    def mean_log_prob(mean, log_scale):
        return OptimalScaleNormal(mean, log_scale).log_prob(value).mean()

    log_scale = jnp.asarray(np.float32(0.3))
    expected = log_prob(Normal(mean, log_scale), value)
    np.testing.assert_array_equal(log_prob(OptimalScaleNormal(mean, log_scale), value), expected)
    assert expected.shape == (4, 3)

    def sigma_vae(mean):
        # The mean loss of Rybkin et al. over 12 examples: D log sigma* and a constant.
        return -5 * 0.5 * jnp.log(jnp.square(value - mean).mean())

    gradient = jax.jit(jax.grad(mean_log_prob, argnums=(0, 1)))
    by_mean, by_log_scale = gradient(mean, log_scale)
    np.testing.assert_allclose(by_mean, jax.jit(jax.grad(sigma_vae))(mean), rtol=1e-4, atol=1e-7)
    optimum = 0.5 * np.log(np.square(np.asarray(value) - np.asarray(mean)).mean())
    np.testing.assert_allclose(by_log_scale, np.tanh(10 * (optimum - log_scale)), rtol=1e-5)
    # Members of a sweep, side by side in one program, each have an optimum of their own.
    members = np.stack([mean, 3 * np.asarray(mean)])
    side_by_side = jax.jit(jax.vmap(jax.grad(mean_log_prob), in_axes=(0, None)))
    each = np.asarray(side_by_side(members, log_scale))
    np.testing.assert_allclose(each[0], by_mean, rtol=1e-5)
    np.testing.assert_allclose(each[1], gradient(members[1], log_scale)[0], rtol=1e-5)


def test_a_residual_of_zero_leaves_the_optimal_scale_finite():
    value = jnp.asarray(np.full((2, 3), 0.25, np.float32))

    def total(mean, log_scale):
        return OptimalScaleNormal(mean, log_scale).log_prob(value).sum()

    by_mean, by_log_scale = jax.jit(jax.grad(total, argnums=(0, 1)))(value, jnp.float32(0))
    np.testing.assert_array_equal(by_mean, np.zeros((2, 3)))
    np.testing.assert_allclose(by_log_scale, -2)
