import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from small_models import normal

from vae_jax.distributions import OneHot, closed_kl, kl_by_group
from vae_jax.distributions.one_hot import gumbel_from_normal

GROUPS, CLASSES = 2, 3
# Every vector that two groups of three classes have.
VECTORS = jnp.array(
    [
        np.eye(CLASSES, dtype=np.float32)[list(chosen)].reshape(-1)
        for chosen in itertools.product(range(CLASSES), repeat=GROUPS)
    ]
)


def posterior(*batch):
    return OneHot(normal(0, *batch, GROUPS, CLASSES))


@jax.jit
def log_prob(q, vectors):
    return q.log_prob(vectors)


def test_probabilities_sum_to_one_over_all_vectors():
    q = posterior()
    probabilities = np.exp(log_prob(q, VECTORS))
    assert probabilities.sum() == pytest.approx(1, rel=1e-5)
    # They are products over the groups.
    by_group = special.softmax(np.asarray(q.logits), axis=-1)
    expected = [by_group[0, i] * by_group[1, j] for i in range(3) for j in range(3)]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)


def test_the_divergence_is_the_sum_over_all_vectors():
    q, p = posterior(), OneHot(normal(1, GROUPS, CLASSES))
    log_q, log_p = (np.asarray(log_prob(each, VECTORS)) for each in (q, p))
    expected = (np.exp(log_q) * (log_q - log_p)).sum()
    divergences = jax.jit(lambda q, p: (kl_by_group(q, p), kl_by_group(q, q), closed_kl(q, p)))
    by_group, of_itself, closed = map(np.asarray, divergences(q, p))
    assert by_group.sum() == pytest.approx(expected, rel=1e-4)
    assert of_itself.sum() == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(closed, by_group)


def test_noise_becomes_gumbel_noise():
    extremes = np.float32([-5.5, 5.5])
    noise = np.concatenate([np.asarray(normal(2, 100_000)), extremes])
    found = np.asarray(jax.jit(gumbel_from_normal)(noise))
    assert found.mean() == pytest.approx(np.euler_gamma, abs=0.02)
    assert found.std() == pytest.approx(np.pi / np.sqrt(6), abs=0.02)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", ["draw", "sample"])
def test_draws_are_exact(kind):
    q, num = posterior(), 40_000
    if kind == "draw":
        latents, of_draws = jax.jit(q.draw)(normal(3, num, GROUPS * CLASSES))
        np.testing.assert_allclose(of_draws, log_prob(q, latents), rtol=1e-6)
    else:
        latents = jax.jit(jax.vmap(q.sample))(jax.random.split(jax.random.key(0), num))
    shares = (np.asarray(latents) @ np.asarray(VECTORS).T == GROUPS).mean(axis=0)
    expected = np.exp(log_prob(q, VECTORS))
    error = np.sqrt(expected * (1 - expected) / num)
    assert float(shares.sum()) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_less(np.abs(shares - expected), 5 * error)


def test_relaxed_draws_are_on_the_simplex_and_become_exact_at_low_temperature():
    q, noise = posterior(4), normal(5, 7, 4, GROUPS * CLASSES)

    @jax.jit
    def draw(q, noise):
        unmoved = q.draw(jnp.zeros((4, GROUPS * CLASSES))).latents
        draws = q.relaxed(noise, 0.7), q.relaxed(noise, 1e-4), q.draw(noise).latents
        return *draws, q.mean, unmoved

    relaxed, cold, exact, mean, unmoved = map(np.asarray, draw(q, noise))
    relaxed = relaxed.reshape(7, 4, GROUPS, CLASSES)
    np.testing.assert_allclose(relaxed.sum(axis=-1), 1, rtol=1e-5)
    assert relaxed.min() > 0
    np.testing.assert_allclose(cold, exact, atol=1e-4)
    np.testing.assert_array_equal(mean, unmoved)
