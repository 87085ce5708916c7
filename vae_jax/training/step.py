"""One training step, and an epoch of it. Pure functions: nothing here knows devices or files."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from vae_jax.data.pixels import StoredExamples

Scalar = Float[Array, ""]
Metrics = dict[str, Scalar]
StoredBatches = (
    UInt8[Array, "steps batch height width channels"]
    | Float[Array, "steps batch height width channels"]
    | dict[str, Array]
)

# Unrolled, XLA's CPU backend keeps the parameters in place instead of copying them each step.
_UNROLL = 4


class Hyperparameters(NamedTuple):
    """The scalars that enter the compiled program as arrays, so that one program serves all values.

    Attributes:
      learning_rate: peak of the schedule.
      beta: weight of the KL (Higgins et al. 2017), or of its total correlation alone; 1 is the
        evidence lower bound.
      distortion_weight: weight of the reconstruction term; 0 leaves the KL alone.
      warmup_epochs: epochs over which beta rises linearly from 0; 0 is no warm-up.
      warmup_cycle_epochs: epochs after which that rise begins anew; 0 is once.
      free_nats: nats a latent dimension may use, on average over the batch, at no cost.
      ciwae_weight: share of the ELBO in the combination with the importance-weighted bound.
      gamma: weight of the total correlation that a discriminator estimates, or of the distance of
        the rate from the capacity.
      capacity: nats that the rate is drawn to.
      capacity_epochs: epochs over which these rise linearly from 0; 0 is at once.
      dip_off_diagonal: weight of the squared covariances of the latents.
      dip_diagonal: weight of the squared differences of their variances from 1.
      discriminator_learning_rate: of a discriminator's own optimiser.
      unimodal_kl_weight: weight of the KLs of a joint posterior from those of single modalities.
      word_dropout: share of the words that a decoder of texts is not told.
      corruption_level: strength of the corruption of the input.
      weight_decay: decoupled decay of the matrices (Loshchilov & Hutter 2017).
    """

    learning_rate: Scalar
    beta: Scalar
    distortion_weight: Scalar
    warmup_epochs: Scalar
    warmup_cycle_epochs: Scalar
    free_nats: Scalar
    ciwae_weight: Scalar
    gamma: Scalar
    capacity: Scalar
    capacity_epochs: Scalar
    dip_off_diagonal: Scalar
    dip_diagonal: Scalar
    discriminator_learning_rate: Scalar
    unimodal_kl_weight: Scalar
    word_dropout: Scalar
    corruption_level: Scalar
    weight_decay: Scalar


class TrainState(NamedTuple):
    """Everything that a step changes or needs; resuming is restoring it.

    Attributes:
      step: steps taken.
      params: the model's parameters.
      opt_state: the optimiser's state.
      hparams: the hyperparameters of this run.
      noise_key: `fold_in(noise_key, step)` is the key of a step.
      order_key: `fold_in(order_key, epoch)` shuffles an epoch.
    """

    step: Int[Array, ""]
    params: nnx.State
    opt_state: PyTree
    hparams: Hyperparameters
    noise_key: Key[Array, ""]
    order_key: Key[Array, ""]


# loss_fn(params, stored examples, hparams, epoch, key) -> (loss, metrics): batch means in nats.
LossFn = Callable[
    [nnx.State, StoredExamples, Hyperparameters, Scalar, Key[Array, ""]], tuple[Scalar, Metrics]
]
# The optimiser for given, possibly traced, hyperparameters.
MakeOptimizer = Callable[[Hyperparameters], optax.GradientTransformation]
TrainStep = Callable[[TrainState, StoredExamples, Scalar], tuple[TrainState, Metrics]]
# Of an array with a leading axis of a batch, the part that is computed here: all of it on one
# device (see vae_jax.training.parallel for several).
SplitBatch = Callable[[Array], Array]


def whole_batch(batch: Array) -> Array:
    """What one device computes of a batch."""
    return batch


def num_rows(examples: StoredExamples) -> int:
    """How many examples there are, in one array or in several by name."""
    return int(jax.tree.leaves(examples)[0].shape[0])


def init_state(
    params: nnx.State,
    hparams: Hyperparameters,
    make_optimizer: MakeOptimizer,
    key: Key[Array, ""],
) -> TrainState:
    """The state before the first step."""
    noise_key, order_key = jax.random.split(key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=make_optimizer(hparams).init(params),
        hparams=hparams,
        noise_key=noise_key,
        order_key=order_key,
    )


def train_step(
    state: TrainState,
    examples: StoredExamples,
    epoch: Scalar,
    *,
    loss_fn: LossFn,
    make_optimizer: MakeOptimizer,
    accumulation_steps: int = 1,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """One gradient step on one batch.

    Args:
      state: the state before the step.
      examples: images `[batch, height, width, channels]` as stored, or `[batch, factors]`, or
        arrays by the name of their modality.
      epoch: passes over the data so far, a fraction within an epoch.
      loss_fn: the objective.
      make_optimizer: the optimiser, given hyperparameters.
      accumulation_steps: parts that the batch goes through the model in, one after the other, each
        with noise of its own; it must divide over them.
      axis_name: the mapped axis under `jax.pmap`, over which gradients and metrics are averaged;
        every device draws noise of its own.

    Returns:
      The state after the step and the metrics of the batch, "loss" among them, in nats.
    """
    key = jax.random.fold_in(state.noise_key, state.step)
    if axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def gradients(examples: StoredExamples, key: Key[Array, ""]) -> tuple[nnx.State, Metrics]:
        (loss, metrics), grads = grad_fn(state.params, examples, state.hparams, epoch, key)
        return grads, {"loss": loss, **metrics}

    if accumulation_steps == 1:
        grads, metrics = gradients(examples, key)
    else:
        grads, metrics = _accumulated(gradients, examples, key, accumulation_steps)
    if axis_name is not None:
        grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
    optimizer = make_optimizer(state.hparams)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state._replace(step=state.step + 1, params=params, opt_state=opt_state), metrics


def _accumulated(
    gradients: Callable[[StoredExamples, Key[Array, ""]], tuple[nnx.State, Metrics]],
    examples: StoredExamples,
    key: Key[Array, ""],
    num_parts: int,
) -> tuple[nnx.State, Metrics]:
    """Means over parts of a batch, of which one at a time is in memory."""

    # Every part takes from all over the batch: where its examples lie on several devices, each
    # device keeps its own.
    def split(array: Array) -> Array:
        return array.reshape(-1, num_parts, *array.shape[1:]).swapaxes(0, 1)

    parts = jax.tree.map(split, examples)
    keys = jax.random.split(key, num_parts)

    def body(
        total: tuple[nnx.State, Metrics], part: tuple[StoredExamples, Key[Array, ""]]
    ) -> tuple[tuple[nnx.State, Metrics], None]:
        return jax.tree.map(jnp.add, total, gradients(*part)), None

    first = gradients(jax.tree.map(lambda part: part[0], parts), keys[0])
    rest = jax.tree.map(lambda part: part[1:], parts)
    total, _ = jax.lax.scan(body, first, (rest, keys[1:]))
    return jax.tree.map(lambda leaf: leaf / num_parts, total)


def epoch_order(
    order_key: Key[Array, ""], epoch: Int[Array, ""] | int, num_examples: int
) -> Int[Array, " num_examples"]:
    """The order in which an epoch goes through the examples, in memory or from a stream."""
    return jax.random.permutation(jax.random.fold_in(order_key, epoch), num_examples)


def train_epoch(
    state: TrainState,
    examples: StoredExamples,
    *,
    step_fn: TrainStep,
    batch_size: int,
    num_steps: int,
    split_batch: SplitBatch = whole_batch,
) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
    """Scan `num_steps` steps over examples that lie on the device.

    The order of an epoch depends on the run's key and the epoch's number alone, and the place in
    it on the step, so that a call may begin in the middle of an epoch (it must not reach past its
    end). What is left over when the batch size does not divide the data is skipped, other examples
    each epoch.

    Args:
      state: the state; its step says where in which epoch to begin.
      examples: the training set: images `[num_examples, height, width, channels]` as stored, or
        `[num_examples, factors]`, or arrays by the name of their modality.
      step_fn: `train_step` with its objective and optimiser.
      batch_size: examples a step.
      num_steps: steps to take.
      split_batch: says which of a batch's examples are computed here.

    Returns:
      The state after the last step, and the metrics of every step.
    """
    num_examples = num_rows(examples)
    steps_per_epoch = num_examples // batch_size
    epoch, first = state.step // steps_per_epoch, state.step % steps_per_epoch
    order = epoch_order(state.order_key, epoch, num_examples)
    order = jax.lax.dynamic_slice_in_dim(order, first * batch_size, num_steps * batch_size)

    rows = jax.tree.map(lambda array: array.reshape(num_examples, -1), examples)

    def body(state: TrainState, indices: Int[Array, " batch"]) -> tuple[TrainState, Metrics]:
        indices = split_batch(indices)

        def gather(rows: Array, array: Array) -> Array:
            chosen = rows.at[indices].get(mode="promise_in_bounds")
            return chosen.reshape(-1, *array.shape[1:])

        batch = jax.tree.map(gather, rows, examples)
        return step_fn(state, batch, state.step / steps_per_epoch)

    return jax.lax.scan(body, state, order.reshape(num_steps, batch_size), unroll=_UNROLL)


def train_batches(
    state: TrainState,
    batches: StoredBatches,
    *,
    step_fn: TrainStep,
    steps_per_epoch: int,
) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
    """Scan a step over each of the batches, which were read in the order of `epoch_order`.

    Args:
      state: the state before the first of them.
      batches: `[num_steps, batch, height, width, channels]` as stored, or arrays by the name of
        their modality.
      step_fn: `train_step` with its objective and optimiser.
      steps_per_epoch: steps in a pass over the data.

    Returns:
      The state after the last step, and the metrics of every step.
    """

    def body(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        return step_fn(state, batch, state.step / steps_per_epoch)

    return jax.lax.scan(body, state, batches, unroll=_UNROLL)


def evaluate(
    params: nnx.State,
    examples: StoredExamples,
    hparams: Hyperparameters,
    epoch: Scalar,
    key: Key[Array, ""],
    *,
    loss_fn: LossFn,
    batch_size: int,
    split_batch: SplitBatch = whole_batch,
) -> Metrics:
    """The objective's metrics over all examples, each counting the same.

    The last partial batch is computed at its own size. The keys depend on `key` and on the place
    of a batch alone, so that two calls with the same key compare the same draws. `split_batch` may
    spread whole batches over devices; the last partial one is computed by each.

    Returns:
      Means over the examples, "loss" among them, in nats.
    """
    num_examples = num_rows(examples)
    batch_size = min(batch_size, num_examples)
    num_batches, remainder = divmod(num_examples, batch_size)

    def batch_metrics(batch: StoredExamples, index: Int[Array, ""]) -> Metrics:
        batch_key = jax.random.fold_in(key, index)
        loss, metrics = loss_fn(params, batch, hparams, epoch, batch_key)
        return {"loss": loss, **metrics}

    def in_batches(array: Array) -> Array:
        whole = array[: num_batches * batch_size]
        return whole.reshape(num_batches, batch_size, *array.shape[1:])

    metrics = jax.lax.map(
        lambda args: batch_metrics(jax.tree.map(split_batch, args[0]), args[1]),
        (jax.tree.map(in_batches, examples), jnp.arange(num_batches)),
    )
    sums = jax.tree.map(lambda values: values.sum() * batch_size, metrics)
    if remainder:
        rest = jax.tree.map(lambda array: array[num_batches * batch_size :], examples)
        last = batch_metrics(rest, jnp.asarray(num_batches))
        sums = jax.tree.map(lambda total, value: total + value * remainder, sums, last)
    return jax.tree.map(lambda total: total / num_examples, sums)
