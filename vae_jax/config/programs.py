"""The program of a run: its traced settings, its plan and its functions."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.config.build import (
    build_graphdef,
    build_model,
    build_networks,
    build_players,
    split_model,
)
from vae_jax.config.experiment import AnyExperiment
from vae_jax.config.first_stage import FirstStageArrays, with_first_stage
from vae_jax.config.forms import DataForm, mean_template
from vae_jax.config.initial_model import InitialArrays, with_initial
from vae_jax.config.keys import build_evaluation_keys, make_key
from vae_jax.data.pixels import StoredExamples
from vae_jax.errors import UserError
from vae_jax.training.loop import Plan, RunState
from vae_jax.training.players import Hparams, Metrics
from vae_jax.training.step import (
    SplitBatch,
    StoredBatches,
    TrainState,
    evaluate,
    init_state,
    train_batches,
    train_epoch,
    train_step,
    whole_batch,
)

# The step is an int32.
_MOST_STEPS = 2**31

# The mean training image, or that of each modality of images, by name.
MeanImages = Float[Array, "height width channels"] | dict[str, Array]


def build_hparams(experiment: AnyExperiment) -> Hparams:
    """Return the traced settings, which enter the compiled program as arrays."""
    return {path: jnp.float32(value) for path, value in experiment.hparams.items()}


def build_plan(
    experiment: AnyExperiment, num_examples: int, most_steps_per_call: int | None = None
) -> Plan:
    """Return the length of a run on `num_examples` examples, and the length of its calls.

    Args:
      experiment: an experiment.
      num_examples: size of the training set.
      most_steps_per_call: a bound on `steps_per_call`, which a stream has.

    Raises:
      UserError: the run has too many steps.
    """
    steps_per_epoch = num_examples // experiment.batch_size
    if experiment.epochs * steps_per_epoch >= _MOST_STEPS:
        raise UserError(
            f"epochs={experiment.epochs} of {steps_per_epoch} steps each are more steps than are "
            f"counted; use at most {(_MOST_STEPS - 1) // steps_per_epoch}"
        )
    steps_per_call = experiment.steps_per_call
    if most_steps_per_call is not None:
        steps_per_call = min(steps_per_call, most_steps_per_call)
    return Plan(
        epochs=experiment.epochs,
        steps_per_epoch=steps_per_epoch,
        steps_per_call=steps_per_call,
        batch_size=experiment.batch_size,
        patience=experiment.patience,
        checkpoint_seconds=experiment.checkpoints.every_seconds,
        max_checkpoints=experiment.checkpoints.max_to_keep,
        warmup_epochs=experiment.objective.warmup_epochs,
        score=experiment.objective.score,
    )


class Program(NamedTuple):
    """A run's pure functions, not yet compiled, and its initial state.

    Attributes:
      graphdef: the model without its parameters.
      init: `init(mean_image, key, hparams, first_stage, initial)` makes the state before the first
        step; `first_stage` has the arrays of the model's first stage, if it has one, and `initial`
        those of the model that training starts from, if it is that of another run.
      run_steps: `run_steps(state, examples, num_steps)` trains on examples that lie on the device.
      run_batches: `run_batches(state, batches)` trains on the batches given, a step each.
      validate: `validate(state, examples)` measures the objective on other examples.
    """

    graphdef: nnx.GraphDef
    init: Callable[..., RunState]
    run_steps: Callable[..., tuple[TrainState, dict[str, Float[Array, " steps"]]]]
    run_batches: Callable[
        [TrainState, StoredBatches], tuple[TrainState, dict[str, Float[Array, " steps"]]]
    ]
    validate: Callable[[TrainState, StoredExamples], Metrics]


def build_program(
    experiment: AnyExperiment,
    form: DataForm,
    num_examples: int,
    *,
    split_batch: SplitBatch = whole_batch,
    axis_name: str | None = None,
) -> Program:
    """Return everything that a run executes.

    Args:
      experiment: an experiment.
      form: height, width, channels; or the forms of several modalities.
      num_examples: size of the training set.
      split_batch: says which of a batch's examples are computed here.
      axis_name: the mapped axis under `jax.pmap`.
    """
    steps_per_epoch = num_examples // experiment.batch_size
    graphdef = build_graphdef(experiment, form)
    players = build_players(experiment, form, num_examples)
    num_batches = max(player.num_batches for player in players)
    step_fn = functools.partial(
        train_step,
        players=players,
        accumulation_steps=experiment.optimizer.accumulation_steps,
        axis_name=axis_name,
    )
    # The same draw for every epoch and every seed: validation scores can be compared.
    validation_key = build_evaluation_keys(experiment).validation

    def init(
        mean_image: MeanImages,
        key: Key[Array, ""],
        hparams: Hparams,
        first_stage: FirstStageArrays | None = None,
        initial: InitialArrays = None,
    ) -> RunState:
        model_key, run_key = jax.random.split(key)
        _, params, extra = split_model(build_model(experiment, form, model_key, mean_image))
        extra = with_first_stage(extra, first_stage or {})
        params, extra = with_initial(params, extra, initial)
        # With a key of their own: the model draws as it would without them.
        networks = build_networks(experiment, form, jax.random.fold_in(model_key, 1))
        others = {name: nnx.split(network)[1] for name, network in networks.items()}
        state = init_state({"model": params, **others}, extra, hparams, players, run_key)
        return RunState(state, *jax.tree.map(jnp.copy, (params, extra)))

    def run_steps(
        state: TrainState, examples: StoredExamples, num_steps: int
    ) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
        return train_epoch(
            state,
            examples,
            step_fn=step_fn,
            batch_size=experiment.batch_size,
            num_steps=num_steps,
            num_batches=num_batches,
            split_batch=split_batch,
        )

    def run_batches(
        state: TrainState, batches: StoredBatches
    ) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
        return train_batches(
            state,
            batches,
            step_fn=step_fn,
            steps_per_epoch=steps_per_epoch,
            num_batches=num_batches,
        )

    def validate(state: TrainState, examples: StoredExamples) -> Metrics:
        return evaluate(
            state.params,
            state.extra,
            examples,
            state.hparams,
            # After any warm-up, so that epochs are compared by the final objective.
            jnp.float32(jnp.inf),
            validation_key,
            loss_fn=players[0].loss,
            batch_size=experiment.evaluation.batch_size,
            split_batch=split_batch,
            finish=players[0].finish,
        )

    return Program(graphdef, init, run_steps, run_batches, validate)


def run_state_template(experiment: AnyExperiment, form: DataForm) -> RunState:
    """Return the shapes of a run's state, to restore a checkpoint into."""
    program = build_program(experiment, form, num_examples=experiment.batch_size)
    mean = mean_template(form)
    return jax.eval_shape(program.init, mean, make_key(experiment.seed), build_hparams(experiment))
