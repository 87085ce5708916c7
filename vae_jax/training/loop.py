"""The loop around the compiled epochs: validation, best parameters, records, checkpoints, stops.

Results depend on the state alone, never on time: a run that was stopped or killed at any moment and
continued is bitwise the run that was never stopped.
"""

import dataclasses
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, PyTree

from vae_jax.data.pixels import StoredExamples
from vae_jax.errors import UserError
from vae_jax.training import checkpoints, processes
from vae_jax.training.interruption import Interruption
from vae_jax.training.records import Record, Writer
from vae_jax.training.step import TrainState

# run_steps(state, num_steps) -> (state, metrics of each step). It may consume the state's buffers.
RunSteps = Callable[[TrainState, int], tuple[TrainState, dict[str, Float[Array, " steps"]]]]
# validate(state) -> metrics of the validation set.
Validate = Callable[[TrainState], dict[str, Float[Array, ""]]]


class Interrupted(Exception):
    """A signal stopped the run after its checkpoint was written."""

    def __init__(self, interruption: Interruption, where: str) -> None:
        # Without a signal here, another process of the run got one.
        self.signal = interruption.signal or signal.SIGTERM
        super().__init__(
            f"stopped by {self.signal.name} at {where}; the same command continues from there"
        )


class RunState(NamedTuple):
    """The content of a checkpoint: the training state, and the best model so far.

    Attributes:
      train: the training state.
      best_params: the model's parameters at the best epoch.
      best_extra: its state that is learned without a gradient, at that epoch.
    """

    train: TrainState
    best_params: nnx.State
    best_extra: nnx.State

    def with_best(self) -> "RunState":
        """Return the state with a copy of the current model as the best one."""
        best = copy_tree((self.train.params["model"], self.train.extra))
        return RunState(self.train, *best)


@runtime_checkable
class Program(Protocol):
    """The functions of one run, which `vae_jax.config.build_program` makes from a config."""

    @property
    def init(self) -> Callable[..., RunState]:
        """`init(mean_image, key, hparams, ...)` returns the state before the first step."""

    @property
    def run_steps(self) -> Callable[..., tuple[TrainState, dict[str, Float[Array, " steps"]]]]:
        """`run_steps(state, examples, num_steps)` trains."""

    @property
    def run_batches(self) -> Callable[..., tuple[TrainState, dict[str, Float[Array, " steps"]]]]:
        """`run_batches(state, batches)` trains one step on each of the given batches."""

    @property
    def validate(self) -> Callable[[TrainState, StoredExamples], dict[str, Float[Array, ""]]]:
        """`validate(state, examples)` returns the objective's metrics on other examples."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a run, saved in the metadata of its checkpoints.

    Attributes:
      best_epoch: epoch of the best validation score; the last one without validation.
      best_score: that score, at the full weight of the KL, in nats; None before the first.
      train_seconds: time in compiled steps and validation, over all starts of the run.
      stopped_early: whether the patience ran out.
    """

    best_epoch: int = 0
    best_score: float | None = None
    train_seconds: float = 0.0
    stopped_early: bool = False


def negative_loss(metrics: dict[str, Any]) -> float:
    """Return the negative loss in nats, which is the ELBO at beta 1."""
    return -float(metrics["loss"])


@dataclasses.dataclass(frozen=True)
class Plan:
    """The lengths of training: steps, epochs, compiled calls, checkpoints.

    Attributes:
      epochs: passes over the data.
      steps_per_epoch: steps per epoch.
      steps_per_call: most steps in one compiled call.
      batch_size: examples per step.
      patience: epochs without a better validation score before stopping; 0 never stops.
      warmup_epochs: epochs that do not count as patience.
      score: the score of validation metrics; larger is better.
      checkpoint_seconds: time between checkpoints; 0 writes one after every call.
      max_checkpoints: number of newest checkpoints to keep.
    """

    epochs: int
    steps_per_epoch: int
    steps_per_call: int
    batch_size: int
    patience: int
    checkpoint_seconds: float
    max_checkpoints: int
    warmup_epochs: float = 0.0
    score: Callable[[dict[str, Any]], float] = negative_loss

    @property
    def total_steps(self) -> int:
        """The number of steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def next_call(self, step: int) -> int:
        """Return the length of the call at `step`; calls start at fixed steps of an epoch."""
        return min(self.steps_per_call, self.steps_per_epoch - step % self.steps_per_epoch)


def non_finite(metrics: dict[str, np.ndarray], first_step: int) -> str | None:
    """Return a message that names the first step and term that are not finite; None if none is.

    Args:
      metrics: metrics of every step, "loss" among them.
      first_step: the number of the first step.
    """
    bad = np.flatnonzero(~np.isfinite(metrics["loss"]))
    if bad.size == 0:
        return None
    terms = {name: values[bad[0]] for name, values in metrics.items()}
    bad_terms = [
        f"{name}={value}"
        for name, value in terms.items()
        if name in ("distortion", "rate") and not np.isfinite(value)
    ]
    named = ", ".join(bad_terms) or f"loss={terms['loss']}"
    return f"the loss is not finite at step {first_step + int(bad[0])}: {named}"


def _check_finite(metrics: dict[str, np.ndarray], first_step: int, last_good: int) -> None:
    problem = non_finite(metrics, first_step)
    if problem is not None:
        raise UserError(
            f"{problem}; the last good checkpoint, of step {last_good}, is kept; lower "
            "optimizer.learning_rate or set optimizer.gradient_clip_norm, in another workdir"
        )


@jax.jit
def copy_tree(tree: PyTree) -> PyTree:
    """Return a copy of the tree in new buffers."""
    return jax.tree.map(jnp.copy, tree)


@jax.jit
def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Return True if every floating number in the tree is finite."""
    floating = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in floating]))


def _check_params(params: PyTree, step: int, last_good: int) -> None:
    """Refuse parameters that are not finite: the last step of a call can have a finite loss."""
    if not all_finite(params):
        raise UserError(
            f"the parameters are not finite after step {step}; the last good checkpoint, of step "
            f"{last_good}, is kept; lower optimizer.learning_rate or set "
            "optimizer.gradient_clip_norm, in another workdir"
        )


def fit(
    state: RunState,
    progress: Progress,
    *,
    plan: Plan,
    run_steps: RunSteps,
    validate: Validate | None,
    writers: Sequence[Writer],
    checkpoint_dir: Path,
    metadata: dict[str, Any],
    interruption: Interruption,
    on_epoch: Callable[[RunState, int], None] = lambda state, epoch: None,
    describe_call: Callable[[float], dict[str, float]] = lambda seconds: {},
) -> tuple[RunState, Progress]:
    """Train from `state` to the end of the plan.

    A checkpoint is written before the first step, by the clock, and at the end. A state that is not
    finite is never saved: the newest checkpoint is the last good state, and no other copy is kept.

    Args:
      state: the initial or restored state. Its buffers are consumed.
      progress: the initial or restored progress.
      plan: the lengths of training.
      run_steps: the compiled steps.
      validate: the compiled validation; None trains without and keeps the last parameters as best.
      writers: writers of the records.
      checkpoint_dir: folder of the checkpoints.
      metadata: written into every checkpoint beside the progress.
      interruption: checked after every call.
      on_epoch: called after every epoch with the state and the number of epochs.
      describe_call: called after every call with the seconds that it took; returns metrics for the
        call's record.

    Returns:
      The final state and progress, after they were saved.

    Raises:
      Interrupted: a signal came; a checkpoint has been written.
      UserError: the loss is not finite, or a file cannot be written.
    """

    def save(state: RunState, progress: Progress) -> None:
        for writer in writers:
            writer.flush()
        step = int(state.train.step)
        facts = {
            "step": step,
            "epoch": step // plan.steps_per_epoch,
            "examples_seen": step * plan.batch_size,
        }
        checkpoints.save(
            checkpoint_dir,
            step,
            state,
            {**metadata, **facts, **dataclasses.asdict(progress)},
            max_to_keep=plan.max_checkpoints,
        )

    def write(record: Record) -> None:
        for writer in writers:
            writer.write(record)

    step = last_good = int(state.train.step)
    # A restored state has its checkpoint already.
    save(state, progress)
    last_save = time.monotonic()
    while step < plan.total_steps and not progress.stopped_early:
        start = time.perf_counter()
        num_steps = plan.next_call(step)
        train, metrics = run_steps(state.train, num_steps)
        host_metrics = {name: np.asarray(values) for name, values in metrics.items()}
        _check_finite(host_metrics, step, last_good)
        _check_params((train.params, train.extra), step + num_steps, last_good)
        seconds = time.perf_counter() - start
        step += num_steps
        epoch, at_end = step / plan.steps_per_epoch, step % plan.steps_per_epoch == 0
        state = state._replace(train=train)
        write(
            {
                "step": step,
                "epoch": int(epoch) if at_end else round(epoch, 4),
                "split": "train",
                **{name: float(values.mean()) for name, values in host_metrics.items()},
                "examples_per_second": num_steps * plan.batch_size / seconds,
                **describe_call(seconds),
            }
        )
        if at_end:
            state, progress = _end_epoch(state, progress, int(epoch), step, plan, validate, write)
            on_epoch(state, int(epoch))
        progress = dataclasses.replace(
            progress, train_seconds=progress.train_seconds + time.perf_counter() - start
        )
        stop, is_due = processes.any_process(
            bool(interruption), time.monotonic() - last_save >= plan.checkpoint_seconds
        )
        if stop or is_due:
            save(state, progress)
            last_good, last_save = step, time.monotonic()
        if stop:
            raise Interrupted(interruption, f"step {step}")
    save(state, progress)
    return state, progress


def _end_epoch(
    state: RunState,
    progress: Progress,
    epoch: int,
    step: int,
    plan: Plan,
    validate: Validate | None,
    write: Callable[[Record], None],
) -> tuple[RunState, Progress]:
    """Validate, and keep a copy of the model if it is the best so far."""
    if validate is None:
        return state.with_best(), dataclasses.replace(progress, best_epoch=epoch)
    metrics = {name: float(value) for name, value in validate(state.train).items()}
    write({"step": step, "epoch": epoch, "split": "valid", **metrics})
    progress, better = judge(
        progress,
        plan.score(metrics),
        epoch,
        patience=plan.patience,
        warmup_epochs=plan.warmup_epochs,
    )
    return state.with_best() if better else state, progress


def judge(
    progress: Progress,
    score: float,
    epoch: int,
    *,
    patience: int,
    warmup_epochs: float,
) -> tuple[Progress, bool]:
    """Return the progress after the validation of an epoch, and whether it is the best so far."""
    # A score of NaN is never the best.
    if score > (-np.inf if progress.best_score is None else progress.best_score):
        return dataclasses.replace(progress, best_epoch=epoch, best_score=score), True
    ran_out = patience > 0 and epoch - max(progress.best_epoch, warmup_epochs) >= patience
    return dataclasses.replace(progress, stopped_early=ran_out), False
