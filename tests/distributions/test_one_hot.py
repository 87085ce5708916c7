import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
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


def test_probabilities_sum_to_one_over_all_vectors():
    q = posterior()
    probabilities = jnp.exp(q.log_prob(VECTORS))
    assert float(probabilities.sum()) == pytest.approx(1, rel=1e-5)
    # They are products over the groups.
    by_group = jax.nn.softmax(q.logits)
    expected = [by_group[0, i] * by_group[1, j] for i in range(3) for j in range(3)]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)


def test_the_divergence_is_the_sum_over_all_vectors():
    q, p = posterior(), OneHot(normal(1, GROUPS, CLASSES))
    log_q, log_p = q.log_prob(VECTORS), p.log_prob(VECTORS)
    expected = (jnp.exp(log_q) * (log_q - log_p)).sum()
    assert float(kl_by_group(q, p).sum()) == pytest.approx(float(expected), rel=1e-4)
    assert float(kl_by_group(q, q).sum()) == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(closed_kl(q, p), kl_by_group(q, p))


def test_noise_becomes_gumbel_noise():
    noise = gumbel_from_normal(normal(2, 100_000))
    assert float(noise.mean()) == pytest.approx(np.euler_gamma, abs=0.02)
    assert float(noise.std()) == pytest.approx(np.pi / np.sqrt(6), abs=0.02)
    assert np.isfinite(gumbel_from_normal(jnp.array([-5.5, 5.5]))).all()


@pytest.mark.parametrize("kind", ["draw", "sample"])
def test_draws_are_exact(kind):
    q, num = posterior(), 40_000
    if kind == "draw":
        latents, log_prob = jax.jit(q.draw)(normal(3, num, GROUPS * CLASSES))
        np.testing.assert_allclose(log_prob, q.log_prob(latents), rtol=1e-6)
    else:
        latents = jax.jit(jax.vmap(q.sample))(jax.random.split(jax.random.key(0), num))
    shares = (latents @ VECTORS.T == GROUPS).mean(axis=0)
    expected = np.exp(q.log_prob(VECTORS))
    error = np.sqrt(expected * (1 - expected) / num)
    assert float(shares.sum()) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_less(np.abs(shares - expected), 5 * error)


def test_relaxed_draws_are_on_the_simplex_and_become_exact_at_low_temperature():
    q, noise = posterior(4), normal(5, 7, 4, GROUPS * CLASSES)
    relaxed = q.relaxed(noise, 0.7).reshape(7, 4, GROUPS, CLASSES)
    np.testing.assert_allclose(relaxed.sum(axis=-1), 1, rtol=1e-5)
    assert float(relaxed.min()) > 0
    exact = q.draw(noise).latents
    np.testing.assert_allclose(q.relaxed(noise, 1e-4), exact, atol=1e-4)
    np.testing.assert_array_equal(q.mean, q.draw(jnp.zeros((4, GROUPS * CLASSES))).latents)
