"""Gradient transformations that optax lacks or that can be had faster."""

import jax
import jax.numpy as jnp
import optax


def scale_by_adam(b1: float, b2: float, epsilon: float) -> optax.GradientTransformation:
    """`optax.scale_by_adam` with the bias corrections folded into two scalars.

    Adam's direction m_hat / (sqrt(v_hat) + epsilon) divides every element three times. With
    r = sqrt(1 - b2^t) it is (r / (1 - b1^t)) m / (sqrt(v) + r epsilon): one division (Kingma & Ba
    2014, arXiv 1412.6980, end of section 2). At batch 20 the optimiser is a quarter of an MLP's
    training step on the CPU.

    Args:
      b1: decay of the mean of the gradients.
      b2: decay of the mean of their squares.
      epsilon: added to the root.
    """

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        # Not one tree twice: a donated buffer must be there once.
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def update(
        updates: optax.Updates, state: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        del params
        count = optax.safe_increment(state.count)
        root = jnp.sqrt(1 - b2 ** count.astype(jnp.float32))
        step_size, floor = root / (1 - b1 ** count.astype(jnp.float32)), root * epsilon
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, updates)
        updates = jax.tree.map(lambda m, v: step_size * m / (jnp.sqrt(v) + floor), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)
