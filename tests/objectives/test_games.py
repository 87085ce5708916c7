import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.objectives.games import accuracy, discriminator_loss, generator_loss

# A game over five states. q is the softmax of its logits, D has a log ratio for each state, and
# draws of p are enumerated: state i comes COUNTS[i] times.
COUNTS = np.array([1, 2, 3, 4, 6])
P = COUNTS / COUNTS.sum()
STATES = np.repeat(np.arange(5), COUNTS)


@jax.jit
def measured(of_p, of_q):
    """Return both losses and the accuracy."""
    return discriminator_loss(of_p, of_q), generator_loss(of_q), accuracy(of_p, of_q)


def value(logits, log_ratio):
    """Return E_p[log D] + E_q[log(1 - D)] exactly."""
    q = jax.nn.softmax(logits)
    return jnp.sum(P * jax.nn.log_sigmoid(log_ratio) + q * jax.nn.log_sigmoid(-log_ratio))


def test_at_the_equilibrium_the_loss_is_two_log_two_and_no_player_has_a_gradient():
    logits, log_ratio = np.log(P), jnp.zeros(5)
    loss, grads = jax.jit(jax.value_and_grad(value, argnums=(0, 1)))(logits, log_ratio)
    assert -float(loss) == pytest.approx(2 * np.log(2), rel=1e-6)
    for gradient in grads:
        np.testing.assert_allclose(gradient, 0, atol=1e-7)

    # The same by the losses of the package, on draws.
    def by_draws(log_ratio):
        loss, *others = measured(log_ratio[STATES], log_ratio[STATES])
        return loss, others

    by_draws = jax.jit(jax.value_and_grad(by_draws, has_aux=True))
    (loss, (fooling, right)), gradient = by_draws(log_ratio)
    assert float(loss) == pytest.approx(2 * np.log(2), rel=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-7)
    assert float(fooling) == pytest.approx(np.log(2), rel=1e-6)
    assert float(right) == 0.5


def test_the_best_discriminator_is_the_share_of_p_and_gives_the_jensen_shannon_divergence():
    q = np.array([0.4, 0.3, 0.1, 0.1, 0.1])
    logits, best = np.log(q), np.log(P / q)
    found, gradient = jax.jit(jax.value_and_grad(value, argnums=1))(logits, best)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    mixture = (P + q) / 2
    divergence = np.sum(P * np.log(P / mixture) + q * np.log(q / mixture)) / 2
    assert float(found) == pytest.approx(2 * divergence - 2 * np.log(2), rel=1e-5)
    shifts = np.random.default_rng(0).normal(size=(50, 5))
    others = jax.jit(jax.vmap(lambda shift: value(logits, best + shift)))(shifts)
    assert (np.asarray(others) < float(found)).all()


def test_against_the_best_discriminator_the_value_is_least_where_q_is_p():
    def best_value(logits):
        log_ratio = np.log(P) - jax.nn.log_softmax(logits)
        return value(logits, jax.lax.stop_gradient(log_ratio)), value(logits, log_ratio)

    shifts = np.random.default_rng(1).normal(size=(50, 5))
    _, values = jax.jit(jax.vmap(lambda shift: best_value(np.log(P) + shift)))(shifts)
    assert (np.asarray(values) > -2 * np.log(2)).all()


def test_the_losses_are_the_means_over_draws():
    of_p, of_q = np.array([0.3, -2.0, 5.0]), np.array([1.5, -0.5])
    d_of_p, d_of_q = (1 / (1 + np.exp(-x)) for x in (of_p, of_q))
    expected = -np.log(d_of_p).mean() - np.log(1 - d_of_q).mean()
    loss, fooling, right = map(float, measured(jnp.array(of_p), jnp.array(of_q)))
    assert loss == pytest.approx(expected, rel=1e-5)
    assert fooling == pytest.approx(-np.log(d_of_q).mean(), rel=1e-5)
    # Two of three, and one of two; a log ratio of 0 decides nothing.
    assert right == pytest.approx((2 / 3 + 1 / 2) / 2, rel=1e-6)
    *_, right = measured(jnp.array([0.0, 1.0]), jnp.array([-1.0]))
    assert float(right) == pytest.approx(0.875)


def test_the_generators_gradient_does_not_vanish_where_the_discriminator_is_sure():
    sure = jnp.asarray(np.full(4, -20, np.float32))
    saturating = jax.jit(jax.grad(lambda x: jax.nn.log_sigmoid(-x).mean()))(sure)
    gradient = jax.jit(jax.grad(generator_loss))(sure)
    assert np.abs(np.asarray(saturating)).max() < 1e-8
    np.testing.assert_allclose(gradient, -0.25, rtol=1e-5)
