"""Streams of training sets that are not kept in memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from vae_jax.config.experiment import AnyExperiment
from vae_jax.data.dataset import LazyDataset, num_bytes
from vae_jax.data.streaming import Order, Stream, num_read_threads
from vae_jax.training.loop import Plan
from vae_jax.training.step import TrainState, epoch_order

# Larger transfers are no faster.
_MOST_BYTES_A_CALL = 64 * 2**20
# Memory holds the batches of four calls: those trained on, those that come next, these once more
# while they are transferred, and those read ahead. The rest is for files and for decoding.
_SHARE_OF_LIMIT = 1 / 6


def most_streamed_steps(config: AnyExperiment, train: LazyDataset) -> int:
    """Return the most steps of a call, such that its batches can be transferred at once."""
    budget = min(_MOST_BYTES_A_CALL, config.data.mode.memory_limit * 2**30 * _SHARE_OF_LIMIT)
    batch_bytes = num_bytes(train) // train.shape[0] * config.batch_size
    return max(1, int(budget / batch_bytes))


def build_stream(
    config: AnyExperiment,
    train: LazyDataset,
    plan: Plan,
    state: TrainState,
    *,
    put: Callable[[np.ndarray], Array] = jax.device_put,
) -> Stream:
    """Return the batches that a run trains on from the step of `state` on.

    Args:
      config: an experiment.
      train: the training set.
      plan: the run's, whose calls are of at most `most_streamed_steps`.
      state: the initial or restored state. The stream keeps nothing of its buffers.
      put: moves the rows of batches that this process reads to where they are trained on.
    """
    num_steps = most_streamed_steps(config, train)
    return Stream(
        train,
        _order_on_host(state.order_key, train.shape[0]),
        batch_size=config.batch_size,
        first_step=int(state.step),
        total_steps=plan.total_steps,
        steps_of_call=plan.next_call,
        num_threads=min(num_read_threads(), num_steps),
        # Each thread then has work while a batch is being copied.
        num_ahead=max(2, num_steps),
        put=put,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _order_on_host(order_key: Key[Array, ""], num_examples: int) -> Order:
    """Return `training.epoch_order` on the CPU: an accelerator may be busy with its steps."""
    # A copy, since the first call consumes the state's own buffers.
    key_data, impl = np.array(jax.random.key_data(order_key)), jax.random.key_impl(order_key)
    shuffle = jax.jit(epoch_order, static_argnames="num_examples")

    def order(epoch: int) -> Int[np.ndarray, " num_examples"]:
        with jax.default_device(_cpu()):
            key = jax.random.wrap_key_data(jnp.asarray(key_data), impl=impl)
            return np.asarray(shuffle(key, epoch, num_examples=num_examples))

    return order


def _cpu() -> jax.Device | None:
    try:
        return jax.local_devices(backend="cpu")[0]
    # JAX_PLATFORMS may leave it out.
    except RuntimeError:
        return None
