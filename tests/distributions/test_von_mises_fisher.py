import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats
from small_models import normal

from vae_jax.distributions import UniformSphere, VonMisesFisher, closed_kl, on_sphere
from vae_jax.distributions.von_mises_fisher import bessel_terms, cosine_slope, noise_size

CONCENTRATIONS = np.logspace(-3, 4, 43).astype(np.float32)


def exact_terms(dimension, concentration):
    """Return log E[exp(k z_1)] over the sphere and A in float64, by SciPy."""
    k, n = np.asarray(concentration, np.float64), dimension / 2 - 1
    # Bessel functions of small numbers underflow.
    small = np.minimum(k, 30)
    series = [special.hyp0f1(n + 1 + i, small**2 / 4) for i in range(2)]
    large = np.maximum(k, 30)
    bessel = [special.ive(n + i, large) for i in range(2)]
    constant = special.gammaln(n + 1) + n * np.log(2 / large)
    log_mean = np.where(k < 30, np.log(series[0]), constant + np.log(bessel[0]) + large)
    cosine = np.where(k < 30, small / dimension * series[1] / series[0], bessel[1] / bessel[0])
    return log_mean, cosine


def angle_density(dimension, concentration, num=40_001):
    """Return angles to the mean direction, their density and its cumulative sum, in float64."""
    # Closer where the density is.
    angles = np.pi * np.linspace(0, 1, num) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        log_sine = (dimension - 2) * np.log(np.sin(angles)) if dimension > 2 else 0 * angles
    density = np.exp(concentration * (np.cos(angles) - 1) + log_sine)
    density /= np.trapezoid(density, angles)
    return angles, density, integrate.cumulative_trapezoid(density, angles, initial=0)


def around(dimension, concentration):
    raw = np.asarray(normal(7, dimension))
    return VonMisesFisher(jnp.asarray(raw / np.linalg.norm(raw)), jnp.float32(concentration))


@pytest.mark.parametrize("dimension", [2, 11, 200])
def test_normaliser_and_mean_cosine_are_those_of_double_precision(dimension):
    @jax.jit
    def found(k):
        def kl(k):
            gap, deficit = bessel_terms(dimension, k)
            return gap - deficit, (gap, deficit)

        return jax.vmap(jax.value_and_grad(kl, has_aux=True))(k)

    k = np.asarray(CONCENTRATIONS, np.float64)
    (kl, (gap, deficit)), slope = found(CONCENTRATIONS)
    log_mean, cosine = exact_terms(dimension, CONCENTRATIONS)
    np.testing.assert_allclose(gap, k - log_mean, rtol=5e-6)
    np.testing.assert_allclose(deficit, k * (1 - cosine), rtol=1e-5)
    np.testing.assert_allclose(kl, k * cosine - log_mean, rtol=5e-5, atol=1e-6)
    # dA/dk = 1 - A^2 - (m - 1) A / k
    expected = k * (1 - cosine**2 - (dimension - 1) / k * cosine)
    np.testing.assert_allclose(slope, expected, rtol=5e-5, atol=3e-6)


def test_density_and_entropy_are_scipys():
    measured = jax.jit(lambda q, points: (q.log_prob(points), q.entropy))
    for concentration in (1.0, 30.0, 1000.0):
        q = around(5, concentration)
        exact = stats.vonmises_fisher(np.asarray(q.direction, np.float64), concentration)
        points = exact.rvs(50, random_state=0)
        points /= np.linalg.norm(points, axis=-1, keepdims=True)
        log_prob, entropy = measured(q, jnp.asarray(points, jnp.float32))
        np.testing.assert_allclose(log_prob, exact.logpdf(points), rtol=1e-5, atol=2e-4)
        assert float(entropy) == pytest.approx(exact.entropy(), abs=1e-4)


def test_the_divergence_from_the_uniform_sphere_is_the_mean_log_ratio():
    dimension = 3
    q, p = around(dimension, 8.0), UniformSphere(dimension)
    area = 2 * np.pi ** (dimension / 2) / special.gamma(dimension / 2)
    assert float(p.log_prob(q.direction)) == pytest.approx(-np.log(area), rel=1e-6)

    @jax.jit
    def measured(q, noise):
        latents, log_prob = q.draw(noise)
        return log_prob - p.log_prob(latents), closed_kl(q, p)[0], q.entropy

    ratios, kl, entropy = measured(q, normal(0, 20_000, noise_size(dimension)))
    ratios = np.asarray(ratios)
    assert float(kl) == pytest.approx(ratios.mean(), abs=float(5 * ratios.std() / 20_000**0.5))
    assert float(entropy) == pytest.approx(np.log(area) - float(kl), rel=1e-5)
    samples = jax.jit(jax.vmap(p.sample))(jax.random.split(jax.random.key(0), 20_000))
    samples = np.asarray(samples)
    np.testing.assert_allclose(np.linalg.norm(samples, axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        samples.T @ samples / 20_000, np.eye(dimension) / dimension, atol=0.02
    )


@pytest.mark.parametrize("dimension", [2, 200])
def test_draws_have_the_density(dimension):
    @jax.jit
    def draw(k, noise):
        q = VonMisesFisher(direction, k)
        latents, log_prob = q.draw(noise)
        return latents, log_prob, q.log_prob(latents)

    noise = normal(0, 20_000, noise_size(dimension))
    direction = around(dimension, 1.0).direction
    mean = np.asarray(direction)
    for k in (1.0, 50.0, 5000.0):
        latents, log_prob, expected = map(np.asarray, draw(np.float32(k), noise))
        np.testing.assert_allclose(np.linalg.norm(latents, axis=-1), 1, rtol=1e-5)
        difference = np.linalg.norm(latents.astype(np.float64) - mean, axis=-1)
        found = 2 * np.arcsin(difference / 2)
        angles, _, cumulative = angle_density(dimension, k)
        quantiles = np.interp(found, angles, cumulative)
        assert stats.kstest(quantiles, "uniform").pvalue > 1e-3
        # Around the mean direction no side is preferred.
        aside = latents - (latents @ mean)[:, None] * mean
        bound = 5 * aside.std() * (dimension / len(aside)) ** 0.5
        assert np.linalg.norm(aside.mean(axis=0)) < bound
        np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=5e-3)


@pytest.mark.parametrize("dimension", [2, 6, 200])
def test_the_slope_of_a_cosine_is_that_of_its_quantile(dimension):
    slope = jax.jit(lambda k, versine: cosine_slope(dimension, k, versine))
    for k in (1.0, 50.0, 5000.0):
        angles, density, cumulative = angle_density(dimension, k)
        chosen = np.searchsorted(cumulative, [0.001, 0.03, 0.3, 0.5, 0.7, 0.97, 0.999])
        cosine = np.trapezoid(np.cos(angles) * density, angles)
        change = integrate.cumulative_trapezoid(
            (np.cos(angles) - cosine) * density, angles, initial=0
        )
        angles, found = angles[chosen], change[chosen] / density[chosen] / np.sin(angles[chosen])
        versines = (2 * np.sin(angles / 2) ** 2).astype(np.float32)
        expected = slope(jnp.full(7, k, jnp.float32), versines)
        np.testing.assert_allclose(expected, found, rtol=1e-3)


@pytest.mark.parametrize("dimension", [2, 5])
def test_gradients_of_expectations_are_unbiased(dimension):
    """E[w . z] and E[(w . z)^2] have closed forms in mean direction and concentration."""
    num, weights, raw = 20_000, normal(3, dimension), 2 * normal(7, dimension)
    noise = normal(5, num, noise_size(dimension))

    def moments(raw, k):
        direction = on_sphere(raw)
        cosine = VonMisesFisher(direction, k).mean_cosine
        along, rest = weights @ direction, (dimension - 1) * cosine / k
        # E[t^2] = 1 - (m - 1) A / k, and the rest of the unit norm lies evenly across.
        across = (weights @ weights - along**2) / (dimension - 1)
        return jnp.stack([cosine * along, (1 - rest) * along**2 + rest * across])

    def drawn(raw, k, noise):
        z = weights @ VonMisesFisher(on_sphere(raw), k).draw(noise).latents
        return jnp.stack([z, jnp.square(z)])

    exact = jax.jit(jax.jacrev(moments, argnums=(0, 1)))
    per_draw = jax.jit(jax.vmap(jax.jacrev(drawn, argnums=(0, 1)), in_axes=(None, None, 0)))
    for k in (2.0, 40.0):
        expected = exact(raw, jnp.float32(k))
        found = per_draw(raw, jnp.float32(k), noise)
        for gradient, each in zip(expected, found, strict=True):
            each = np.asarray(each, np.float64)
            error = each.std(axis=0) / num**0.5
            np.testing.assert_array_less(
                np.abs(each.mean(axis=0) - gradient), 4.5 * error + 1e-5 * np.abs(gradient) + 1e-7
            )


def test_the_density_of_a_draw_moves_with_the_draw():
    """The log density that comes with draws has the derivative of that at the moving points."""
    raw, noise = normal(3, 4, 6), normal(5, 5, 4, noise_size(6))
    k = jnp.asarray([0.5, 3.0, 40.0, 8.0])

    def densities(raw, k):
        q = VonMisesFisher(on_sphere(raw), k)
        draw = q.draw(noise)
        return draw.log_prob, q.log_prob(draw.latents)

    (given, again), (slope, expected) = jax.jit(jax.jvp, static_argnums=0)(
        densities, (raw, k), (normal(9, 4, 6), k / 2)
    )
    np.testing.assert_allclose(given, again, atol=1e-4)
    np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-3)


def test_draws_of_a_batch_move_as_each_alone():
    def slope(raw, k, noise, change):
        def drawn(raw, k):
            return VonMisesFisher(on_sphere(raw), k).draw(noise).latents

        return jax.jvp(drawn, (raw, k), (change, k))[1]

    batch = normal(3, 4, 6), jnp.asarray([0.5, 3.0, 40.0, 8.0]), normal(5, 4, noise_size(6))
    batch = *batch, normal(9, 4, 6)
    alone = jax.jit(jax.vmap(slope))(*batch)
    np.testing.assert_allclose(jax.jit(slope)(*batch), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dimension", [2, 3, 11, 200])
def test_a_draw_without_an_accepted_proposal_is_rarer_than_one_in_ten_million(dimension):
    noise = np.random.default_rng(0).normal(size=(200_000, 2))
    squares = np.square(noise).sum(axis=-1)
    y = noise[:, 0] / np.sqrt(squares)
    if dimension > 2:
        y *= np.sqrt(-np.expm1(-squares / (dimension - 2)))
    # At the highest concentration b is 1, and fewest proposals are accepted.
    log_probability = (dimension - 1) * (y / (1 + y) - np.log1p(y))
    num_proposals = (noise_size(dimension) - dimension + 1) // 3
    assert (1 - np.exp(log_probability).mean()) ** num_proposals < 1e-7


def test_any_noise_gives_a_point_with_finite_gradients():
    dimension = 2

    def total(raw, k, noise):
        latents, log_prob = VonMisesFisher(on_sphere(raw), k).draw(noise)
        return latents.sum() + log_prob, latents

    run = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    zero = np.zeros(noise_size(dimension), np.float32)
    none_accepted, *poles = np.ones_like(zero), zero.copy(), zero.copy()
    none_accepted[dimension + 1 :: 3] = 5
    # Accepted proposals at both poles.
    for pole, side in zip(poles, (-5, 5), strict=True):
        pole[dimension - 1 :: 3], pole[dimension + 1 :: 3] = side, -5
    for concentration in (1.0, 1.23, 1e4):
        for noise in (zero, none_accepted, *poles):
            (result, latents), gradients = run(
                normal(1, dimension), np.float32(concentration), noise
            )
            assert np.isfinite(result)
            assert np.linalg.norm(latents) == pytest.approx(1, rel=1e-5)
            assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_the_nearest_point_on_the_sphere_is_defined_everywhere():
    points, gradient = jax.jit(jax.value_and_grad(lambda x: on_sphere(x)[0, 1]))(
        np.zeros((1, 3), np.float32)
    )
    assert float(points) == 0
    np.testing.assert_array_equal(gradient, np.zeros((1, 3)))
    nearest = jax.jit(on_sphere)(np.float32([[0, 0], [3, -4]]))
    np.testing.assert_allclose(nearest, [[1, 0], [0.6, -0.8]], rtol=1e-6)
