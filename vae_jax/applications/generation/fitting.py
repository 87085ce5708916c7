"""Fitting a network to latents by stochastic gradient descent, after a model was trained."""

from collections.abc import Callable

import jax
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from vae_jax.evaluation.progress import progress_bar

# Steps in one program, between two updates of the progress bar.
_STEPS_AT_ONCE = 250

# The mean loss of a batch of latents, given the parameters and the number of the step.
Loss = Callable[[nnx.State, Array, Array], Array]


def minimize(
    loss_fn: Loss,
    params: nnx.State,
    latents: Float[Array, "num latents"],
    key: Key[Array, ""],
    *,
    num_steps: int,
    batch_size: int,
    learning_rate: float,
    name: str,
) -> nnx.State:
    """Return the parameters after steps of Adam, whose learning rate falls to 0 as a cosine.

    Args:
      loss_fn: what is minimised.
      params: where it starts.
      latents: what batches are drawn from, with replacement.
      key: of the batches.
      num_steps: number of steps.
      batch_size: latents in a batch.
      learning_rate: at the start.
      name: what is fitted, beside the progress bar.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

    @jax.jit
    def advance(
        state: tuple[nnx.State, PyTree],
        latents: Float[Array, "num latents"],
        first: int | Int[Array, ""],
        stop: int | Int[Array, ""],
    ) -> tuple[nnx.State, PyTree]:
        def body(step: Int[Array, ""], state: tuple[nnx.State, PyTree]) -> tuple[nnx.State, PyTree]:
            params, opt_state = state
            step_key = jax.random.fold_in(key, step)
            batch = latents[jax.random.randint(step_key, (batch_size,), 0, len(latents))]
            gradient = jax.grad(loss_fn)(params, batch, step)
            updates, opt_state = optimizer.update(gradient, opt_state)
            return optax.apply_updates(params, updates), opt_state

        return jax.lax.fori_loop(first, stop, body, state)

    state = (params, optimizer.init(params))
    with progress_bar(num_steps, "step", name) as bar:
        for first in range(0, num_steps, _STEPS_AT_ONCE):
            stop = min(first + _STEPS_AT_ONCE, num_steps)
            state = jax.block_until_ready(advance(state, latents, first, stop))
            bar.update(stop - first)
    return state[0]
