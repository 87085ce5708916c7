import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import initialized, normal, randomized

from vae_jax.applications.generation import diffusion
from vae_jax.networks.denoiser import Denoiser

# Two narrow groups of latents, where the exact denoiser is known.
CENTRES = np.array([[-1.0, 0.5, 0.0], [1.0, -0.5, 0.2]])
WEIGHTS = np.array([0.25, 0.75])
DEVIATION = 0.02


def exact(x, level):
    """E[y | y + noise] of the two groups."""
    variance = DEVIATION**2 + level**2
    exponents = jnp.log(WEIGHTS) - 0.5 * jnp.square(x - CENTRES).sum(axis=-1) / variance
    inner = CENTRES + DEVIATION**2 / variance * (x - CENTRES)
    return jax.nn.softmax(exponents) @ inner


def in_groups(drawn):
    """Return the index of each draw's nearest centre, and the distance to it."""
    distances = np.linalg.norm(np.asarray(drawn)[:, None] - CENTRES, axis=-1)
    return distances.argmin(axis=1), distances.min(axis=1)


def draws(distribution, num):
    keys = jax.random.split(jax.random.key(0), num)
    return np.asarray(jax.jit(jax.vmap(distribution.sample))(keys))


def test_the_probability_flow_of_the_exact_denoiser_draws_the_distribution():
    mean, scale = jnp.array([3.0, -2.0, 1.0]), jnp.array(4.0)
    drawn = draws(diffusion.LatentDiffusion(exact, mean, scale), 4000)
    group, distance = in_groups((drawn - mean) / scale)
    assert (group == 1).mean() == pytest.approx(WEIGHTS[1], abs=0.03)
    # Of three dimensions; a value between the groups would be twenty times as far.
    assert np.sqrt((distance**2).mean() / 3) == pytest.approx(DEVIATION, rel=0.15)


def test_the_map_from_noise_is_that_of_the_exact_flow_where_it_is_linear():
    # For N(0, v) the flow scales the noise, so that it gets the deviation of the data.
    variance = 0.3

    def denoise(x, level):
        return variance / (variance + level**2) * x

    base = jnp.linspace(-2, 2, 7)
    start = 40 / np.sqrt(40**2 + variance)
    expected = base * start * np.sqrt(variance)
    np.testing.assert_allclose(diffusion.flowed(denoise, base), expected, rtol=0.01)


def test_noise_levels_fall_to_zero():
    levels = diffusion.noise_levels()
    assert (np.diff(levels) < 0).all()
    assert levels[-1] == 0
    assert levels[0] == pytest.approx(40)


def test_a_denoiser_without_training_has_the_error_of_the_best_linear_one():
    network = initialized(lambda: Denoiser(3, num_blocks=2, width=8, rngs=diffusion.nnx.Rngs(0)))
    x, level = np.ones((4, 3), np.float32), np.array([0.01, 0.5, 1.0, 30.0], np.float32)
    found = jax.jit(lambda x, level: diffusion.denoised(network, x, level))(x, level)
    np.testing.assert_allclose(found, x / (1 + level[:, None] ** 2), rtol=1e-5)


def test_every_parameter_of_a_denoiser_acts_and_the_noise_level_counts():
    network = randomized(
        lambda: Denoiser(3, num_blocks=2, width=8, rngs=diffusion.nnx.Rngs(0)), scale=0.5
    )
    graphdef, params = diffusion.nnx.split(network)
    x = normal(0, 5, 3)

    def total(params, level):
        outputs = diffusion.nnx.merge(graphdef, params)(x, level)
        return (outputs * jnp.arange(1.0, 4.0)).sum()

    level = np.linspace(-1, 1, 5, dtype=np.float32)
    by_params, by_level = jax.jit(jax.grad(total, argnums=(0, 1)))(params, level)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(by_params))
    assert (np.asarray(by_level) != 0).all()


def test_a_fitted_diffusion_draws_latents_within_the_groups_that_it_was_fitted_to(monkeypatch):
    monkeypatch.setattr(diffusion, "_WIDTH", 32)
    rng = np.random.default_rng(0)
    groups = rng.choice(2, size=3000, p=WEIGHTS)
    latents = 5 * (CENTRES[groups] + DEVIATION * rng.standard_normal((3000, 3))) + 1
    fitted = diffusion.fit(latents.astype(np.float32), jax.random.key(1), num_steps=1000)
    group, distance = in_groups((draws(fitted, 1000) - 1) / 5)
    assert (group == 1).mean() == pytest.approx(WEIGHTS[1], abs=0.07)
    assert np.quantile(distance, 0.95) < 0.2


def test_few_latents_are_seen_a_bounded_number_of_times(monkeypatch):
    asked = []

    def minimize(loss_fn, params, *rest, num_steps, **options):
        asked.append(num_steps)
        return params

    monkeypatch.setattr(diffusion, "minimize", minimize)
    monkeypatch.setattr(diffusion, "_WIDTH", 4)
    for num in (50, 200_000):
        diffusion.fit(np.random.default_rng(0).random((num, 2), np.float32), jax.random.key(0))
    assert asked == [20, 10_000]
