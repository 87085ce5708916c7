"""One training step, and an epoch of steps. Pure functions, without devices or files."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from vae_jax.data.pixels import StoredExamples
from vae_jax.training.players import (
    Batches,
    Hparams,
    LossFn,
    Metrics,
    Params,
    Player,
    Scalar,
    take_turns,
)

StoredBatches = (
    UInt8[Array, "steps batch height width channels"]
    | Float[Array, "steps batch height width channels"]
    | dict[str, Array]
)

# Steps per iteration of a long scan: XLA's CPU backend then keeps the parameters in place, and does
# not copy them each step. A short scan is not worth the longer compilation.
_UNROLL, _LONG = 4, 64


class TrainState(NamedTuple):
    """The whole state of training; a run resumes by restoring it.

    Attributes:
      step: number of steps taken.
      params: the parameters of each network by its name.
      extra: state that the model learns without a gradient.
      opt_state: the state of each player's optimiser by its name.
      hparams: the traced settings of this run by dotted name.
      noise_key: `fold_in(noise_key, step)` is the key of a step.
      order_key: `fold_in(order_key, epoch)` shuffles an epoch.
    """

    step: Int[Array, ""]
    params: Params
    extra: nnx.State
    opt_state: dict[str, PyTree]
    hparams: Hparams
    noise_key: Key[Array, ""]
    order_key: Key[Array, ""]


# step_fn(state, batches, epoch): one step on the batches of its players.
TrainStep = Callable[[TrainState, Batches, Scalar], tuple[TrainState, Metrics]]
# Returns the part of a batch that this device computes: all of it on one device (see
# vae_jax.training.parallel for several).
SplitBatch = Callable[[Array], Array]


def whole_batch(batch: Array) -> Array:
    """Return the whole batch."""
    return batch


def num_rows(examples: StoredExamples) -> int:
    """Return the number of examples, in one array or in the longest of several by name."""
    return max(int(leaf.shape[0]) for leaf in jax.tree.leaves(examples))


def init_state(
    params: Params,
    extra: nnx.State,
    hparams: Hparams,
    players: Sequence[Player],
    key: Key[Array, ""],
) -> TrainState:
    """Return the state before the first step."""
    noise_key, order_key = jax.random.split(key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        extra=extra,
        opt_state={player.name: player.init(params, hparams) for player in players},
        hparams=hparams,
        noise_key=noise_key,
        order_key=order_key,
    )


def train_step(
    state: TrainState,
    batches: Batches,
    epoch: Scalar,
    *,
    players: tuple[Player, ...],
    accumulation_steps: int = 1,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Take one step: every player moves once by its gradient.

    Args:
      state: the state before the step.
      batches: the examples of the step, and those of the next one if a player takes two batches:
        images `[batch, height, width, channels]` as stored, or `[batch, factors]`, or arrays by the
        name of their modality.
      epoch: passes over the data so far, a fraction within an epoch.
      players: the players of the run, whose loss is that of the first.
      accumulation_steps: number of parts of the batch that are computed one after the other, each
        with its own noise; it must divide the batch size.
      axis_name: the mapped axis under `jax.pmap`, over which gradients and metrics are averaged;
        every device draws its own noise.

    Returns:
      The state after the step and the metrics of the batch, "loss" among them, in nats.
    """
    key = jax.random.fold_in(state.noise_key, state.step)
    if axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
    params, extra, opt_state, metrics = take_turns(
        players,
        state.step,
        state.params,
        state.extra,
        state.opt_state,
        batches,
        state.hparams,
        epoch,
        key,
        accumulation_steps=accumulation_steps,
        axis_name=axis_name,
    )
    state = state._replace(step=state.step + 1, params=params, extra=extra, opt_state=opt_state)
    return state, metrics


def epoch_order(
    order_key: Key[Array, ""], epoch: Int[Array, ""] | int, num_examples: int
) -> Int[Array, " num_examples"]:
    """Return the order of the examples in an epoch, in memory or from a stream."""
    return jax.random.permutation(jax.random.fold_in(order_key, epoch), num_examples)


def train_epoch(
    state: TrainState,
    examples: StoredExamples,
    *,
    step_fn: TrainStep,
    batch_size: int,
    num_steps: int,
    num_batches: int = 1,
    split_batch: SplitBatch = whole_batch,
) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
    """Scan `num_steps` steps over examples on the device.

    The order of an epoch depends only on the run's key and the number of the epoch, and the
    position in it on the step. So a call may begin in the middle of an epoch; it must not go past
    its end. If the batch size does not divide the number of examples, each epoch skips others.

    Args:
      state: the state; its step gives the epoch and the position in it.
      examples: the training set: images `[num_examples, height, width, channels]` as stored, or
        `[num_examples, factors]`, or arrays by name. A shorter array is cycled through, so that
        each step takes as many of its rows.
      step_fn: `train_step` with its players.
      batch_size: examples per step.
      num_steps: number of steps to take.
      num_batches: number of batches that a step takes; the second is that of the next step in the
        call, or of the first step for the last one.
      split_batch: returns the part of a batch that this device computes.

    Returns:
      The state after the last step, and the metrics of every step.
    """
    num_examples = num_rows(examples)
    steps_per_epoch = num_examples // batch_size
    epoch, first = state.step // steps_per_epoch, state.step % steps_per_epoch
    order = epoch_order(state.order_key, epoch, num_examples)
    order = jax.lax.dynamic_slice_in_dim(order, first * batch_size, num_steps * batch_size)

    rows = jax.tree.map(lambda array: array.reshape(len(array), -1), examples)

    def batch_of(indices: Int[Array, " whole_batch"]) -> StoredExamples:
        indices = split_batch(indices)

        def gather(rows: Array, array: Array) -> Array:
            own = indices if len(rows) == num_examples else indices % len(rows)
            chosen = rows.at[own].get(mode="promise_in_bounds")
            return chosen.reshape(-1, *array.shape[1:])

        return jax.tree.map(gather, rows, examples)

    def body(state: TrainState, indices: tuple[Array, ...]) -> tuple[TrainState, Metrics]:
        return step_fn(state, tuple(map(batch_of, indices)), state.step / steps_per_epoch)

    by_step = order.reshape(num_steps, batch_size)
    return _scan(body, state, _with_next(by_step, num_batches))


def _with_next(by_step: Any, num_batches: int) -> tuple[Any, ...]:
    """Return the values of each step of a call, and those of the steps after it."""
    return tuple(
        by_step
        if shift == 0
        else jax.tree.map(lambda leaf, shift=shift: jnp.roll(leaf, -shift, axis=0), by_step)
        for shift in range(num_batches)
    )


def train_batches(
    state: TrainState,
    batches: StoredBatches,
    *,
    step_fn: TrainStep,
    steps_per_epoch: int,
    num_batches: int = 1,
) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
    """Scan a step over each of the batches, which were read in the order of `epoch_order`.

    Args:
      state: the state before the first step.
      batches: `[num_steps, batch, height, width, channels]` as stored, or arrays by the name of
        their modality.
      step_fn: `train_step` with its players.
      steps_per_epoch: number of steps in a pass over the data.
      num_batches: number of batches that a step takes (see `train_epoch`).

    Returns:
      The state after the last step, and the metrics of every step.
    """

    def body(state: TrainState, batches: Batches) -> tuple[TrainState, Metrics]:
        return step_fn(state, batches, state.step / steps_per_epoch)

    return _scan(body, state, _with_next(batches, num_batches))


def _scan(body: Any, state: TrainState, by_step: Any) -> tuple[TrainState, Any]:
    num_steps = len(jax.tree.leaves(by_step)[0])
    return jax.lax.scan(body, state, by_step, unroll=_UNROLL if num_steps >= _LONG else 1)


def evaluate(
    params: Params,
    extra: nnx.State,
    examples: StoredExamples,
    hparams: Hparams,
    epoch: Scalar,
    key: Key[Array, ""],
    *,
    loss_fn: LossFn,
    batch_size: int,
    split_batch: SplitBatch = whole_batch,
    finish: Callable[[Metrics], Metrics] = dict,
) -> Metrics:
    """Return the objective's metrics over all examples, with equal weights.

    The last partial batch is computed at its own size. The keys depend only on `key` and on the
    index of a batch, so that two calls with the same key compare the same draws. `split_batch` may
    distribute whole batches over devices; each device computes the last partial one.
    `finish` makes the metrics of records from the means.

    Returns:
      Means over the examples, "loss" among them, in nats.
    """
    num_examples = num_rows(examples)
    batch_size = min(batch_size, num_examples)
    num_batches, remainder = divmod(num_examples, batch_size)

    def batch_metrics(batch: StoredExamples, index: Int[Array, ""]) -> Metrics:
        batch_key = jax.random.fold_in(key, index)
        loss, (metrics, _) = loss_fn(params, extra, (batch,), hparams, epoch, batch_key)
        return {"loss": loss, **metrics}

    def in_batches(array: Array) -> Array:
        whole = array[: num_batches * batch_size]
        return whole.reshape(num_batches, batch_size, *array.shape[1:])

    metrics = jax.lax.map(
        lambda args: batch_metrics(jax.tree.map(split_batch, args[0]), args[1]),
        (jax.tree.map(in_batches, examples), jnp.arange(num_batches)),
    )
    sums = jax.tree.map(lambda values: values.sum(axis=0) * batch_size, metrics)
    if remainder:
        rest = jax.tree.map(lambda array: array[num_batches * batch_size :], examples)
        last = batch_metrics(rest, jnp.asarray(num_batches))
        sums = jax.tree.map(lambda total, value: total + value * remainder, sums, last)
    return finish(jax.tree.map(lambda total: total / num_examples, sums))
