import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import normal

from vae_jax.distributions import Normal
from vae_jax.models import experts
from vae_jax.models.experts import subsets_of

NUM, BATCH, LATENTS = 3, 5, 2
NONE = jnp.zeros((BATCH, NUM), bool)
# One program each; called as they are, every operation is one.
product_of_experts = jax.jit(experts.product_of_experts)


@functools.partial(jax.jit, static_argnums=2)
def mixture_of(factors, present, kind):
    return experts.mixture_over_subsets(factors, present, subsets_of(kind, NUM))


@jax.jit
def log_prob_of(distribution, value):
    return distribution.log_prob(value)


def factors_of(seed=0, num=NUM):
    return Normal(normal(seed, num, BATCH, LATENTS), 0.5 * normal(seed + 1, num, BATCH, LATENTS))


def only(*members):
    return jnp.broadcast_to(jnp.isin(jnp.arange(NUM), jnp.asarray(members)), (BATCH, NUM))


def log_density(x, mean, scale):
    return -0.5 * ((x - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.booleans(), min_size=NUM, max_size=NUM))
def test_a_product_is_the_normalised_product_of_the_densities(seed, members):
    factors = factors_of(seed)
    product = product_of_experts(factors, jnp.broadcast_to(jnp.asarray(members), (BATCH, NUM)))
    grid = np.linspace(-12, 12, 4001)
    mean, scale = (
        np.asarray(x[:, 0, 0], np.float64) for x in (factors.mean, jnp.exp(factors.log_scale))
    )
    log_product = log_density(grid, 0, 1)
    for i in np.flatnonzero(members):
        log_product = log_product + log_density(grid, mean[i], scale[i])
    density = np.exp(log_product - log_product.max())
    density /= np.trapezoid(density, grid)
    expected_mean = np.trapezoid(density * grid, grid)
    expected_scale = np.sqrt(np.trapezoid(density * (grid - expected_mean) ** 2, grid))
    assert float(product.mean[0, 0]) == pytest.approx(expected_mean, abs=2e-4)
    assert float(jnp.exp(product.log_scale[0, 0])) == pytest.approx(expected_scale, abs=2e-4)


@pytest.mark.parametrize("kind", ["mixture", "mixture_of_products"])
def test_without_any_modality_a_mixture_is_exactly_the_prior(kind):
    mixture = mixture_of(factors_of(), NONE, kind)
    z = normal(3, 4, BATCH, LATENTS)
    prior = Normal(jnp.zeros(LATENTS), jnp.zeros(LATENTS))
    np.testing.assert_array_equal(log_prob_of(mixture, z), log_prob_of(prior, z))
    np.testing.assert_array_equal(mixture.mean, jnp.zeros((BATCH, LATENTS)))


def test_a_product_of_nothing_is_exactly_the_prior():
    product = product_of_experts(factors_of(), NONE)
    np.testing.assert_array_equal(product.mean, jnp.zeros((BATCH, LATENTS)))
    np.testing.assert_array_equal(product.log_scale, jnp.zeros((BATCH, LATENTS)))


@pytest.mark.parametrize("kind", ["mixture", "mixture_of_products"])
@pytest.mark.parametrize("one", range(NUM))
def test_with_one_modality_every_kind_is_that_expert(kind, one):
    expert = product_of_experts(factors_of(), only(one))
    mixture = mixture_of(factors_of(), only(one), kind)
    z = normal(3, 4, BATCH, LATENTS)
    np.testing.assert_allclose(log_prob_of(mixture, z), log_prob_of(expert, z), rtol=1e-6)
    np.testing.assert_allclose(mixture.mean, expert.mean, rtol=1e-6)


def test_mixtures_are_uniform_over_present_modalities():
    factors, z = factors_of(), normal(3, BATCH, LATENTS)
    one, two, both = (product_of_experts(factors, m) for m in (only(0), only(2), only(0, 2)))
    densities = [np.exp(log_prob_of(part, z)) for part in (one, two, both)]
    mixture = mixture_of(factors, only(0, 2), "mixture")
    np.testing.assert_allclose(np.exp(log_prob_of(mixture, z)), sum(densities[:2]) / 2, rtol=1e-5)
    mixture = mixture_of(factors, only(0, 2), "mixture_of_products")
    np.testing.assert_allclose(np.exp(log_prob_of(mixture, z)), sum(densities) / 3, rtol=1e-5)
    np.testing.assert_allclose(mixture.mean, (one.mean + two.mean + both.mean) / 3, rtol=1e-5)


def test_every_example_has_modalities_of_its_own():
    factors = factors_of()
    present = jnp.asarray(np.random.default_rng(4).random((BATCH, NUM)) < 0.5)
    together = product_of_experts(factors, present)
    for i in range(BATCH):
        part = Normal(factors.mean[:, i : i + 1], factors.log_scale[:, i : i + 1])
        alone = product_of_experts(part, present[i : i + 1])
        np.testing.assert_allclose(together.mean[i], alone.mean[0], rtol=1e-6)


@pytest.mark.parametrize("kind", ["product", "mixture", "mixture_of_products"])
def test_the_order_of_the_modalities_does_not_matter(kind):
    factors, order = factors_of(), np.array([2, 0, 1])
    present = jnp.asarray(np.random.default_rng(5).random((BATCH, NUM)) < 0.7)
    turned = Normal(factors.mean[order], factors.log_scale[order])
    z = normal(6, BATCH, LATENTS)

    @jax.jit
    def log_prob(factors, present):
        if kind == "product":
            return product_of_experts(factors, present).log_prob(z)
        return mixture_of(factors, present, kind).log_prob(z)

    np.testing.assert_allclose(
        log_prob(turned, present[:, order]), log_prob(factors, present), rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["product", "mixture", "mixture_of_products"])
def test_a_missing_factor_has_exactly_no_gradient_even_if_it_is_nan(kind):
    factors = factors_of()
    broken = Normal(factors.mean.at[1].set(jnp.nan), factors.log_scale)

    @jax.jit
    def loss(factors):
        if kind == "product":
            return (
                product_of_experts(factors, only(0, 2)).log_prob(jnp.ones((BATCH, LATENTS))).sum()
            )
        mixture = mixture_of(factors, only(0, 2), kind)
        return mixture.log_prob(jnp.ones((BATCH, LATENTS))).sum()

    gradient = jax.jit(jax.grad(loss))(factors)
    assert (np.asarray(gradient.mean[1]) == 0).all()
    assert (np.asarray(gradient.log_scale[1]) == 0).all()
    assert (np.asarray(gradient.mean[0]) != 0).all()
    assert float(loss(broken)) == float(loss(factors))


def test_draws_of_a_mixture_have_its_mean_and_density():
    mixture = mixture_of(factors_of(), only(0, 1, 2), "mixture")
    noise = jax.random.normal(jax.random.key(0), (20_000, BATCH, LATENTS))
    latents, log_prob = jax.jit(lambda own, *draws: own.draw(*draws))(
        mixture, noise, jax.random.key(1)
    )
    np.testing.assert_allclose(latents.mean(axis=0), mixture.mean, atol=0.05)
    np.testing.assert_allclose(log_prob, log_prob_of(mixture, latents), rtol=1e-6)
    # E_q[p / q] = 1 holds only for the density that was drawn from.
    prior = Normal(jnp.zeros(LATENTS), 0.0 * jnp.ones(LATENTS) - 0.7)
    ratio = np.exp(log_prob_of(prior, latents) - log_prob).mean(axis=0)
    np.testing.assert_allclose(ratio, 1, atol=0.15)
