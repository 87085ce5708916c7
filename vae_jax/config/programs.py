"""What a run executes: hyperparameters, optimiser, schedule, and the functions put together."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree
from ml_collections import ConfigDict

from vae_jax.config.forms import DataForm, mean_template
from vae_jax.config.keys import build_evaluation_keys, make_key
from vae_jax.config.losses import build_loss
from vae_jax.config.models import build_graphdef, build_model
from vae_jax.data.pixels import StoredExamples
from vae_jax.training.loop import Plan, RunState
from vae_jax.training.optimizers import scale_by_adam
from vae_jax.training.step import (
    Hyperparameters,
    MakeOptimizer,
    Metrics,
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

# The mean of the training images, or of each modality that is images, by name.
MeanImages = Float[Array, "height width channels"] | dict[str, Array]


def build_hparams(config: ConfigDict) -> Hyperparameters:
    """The scalars that enter the compiled program."""
    values = {name: jnp.float32(value) for name, value in config.hparams.items()}
    return Hyperparameters(**values)


def _powers_of_three(steps_per_epoch: int, epochs: int) -> optax.Schedule:
    """3^i epochs at 10^(-i/7), i = 0, 1, ... (Burda et al. 2015, section 5)."""
    ends, stage = [], 0
    while (3 ** (stage + 1) - 1) // 2 < epochs:
        stage += 1
        ends.append((3**stage - 1) // 2 * steps_per_epoch)
    return optax.piecewise_constant_schedule(1.0, dict.fromkeys(ends, 10 ** (-1 / 7)))


def _part_of_factor_vae(params: PyTree) -> PyTree:
    """Of each parameter of a FactorVAE, what it belongs to: "discriminator" or "vae"."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "discriminator" if path[0].key == "discriminator" else "vae", params
    )


def build_optimizer(config: ConfigDict, num_steps: int) -> MakeOptimizer:
    """The optimiser as a function of the hyperparameters, which may be traced.

    Args:
      config: a validated config.
      num_steps: steps of the whole run, over which the schedule runs.
    """
    section = config.optimizer
    schedules: dict[str, Callable[[], optax.Schedule]] = {
        "constant": lambda: optax.constant_schedule(1.0),
        "cosine": lambda: optax.cosine_decay_schedule(1.0, num_steps),
        "powers_of_three": lambda: _powers_of_three(num_steps // config.epochs, config.epochs),
    }
    schedule = schedules[section.schedule]()
    scalings = {
        "adagrad": lambda: optax.scale_by_rss(initial_accumulator_value=0.1),
        "adam": lambda: scale_by_adam(section.b1, section.b2, section.epsilon),
        "sgd": optax.identity,
    }

    def of_model(hparams: Hyperparameters) -> optax.GradientTransformation:
        clip = section.gradient_clip_norm
        return optax.chain(
            optax.clip_by_global_norm(clip) if clip > 0 else optax.identity(),
            scalings[section.name](),
            # Decay pulls weights towards zero; a bias or a scale has no reason to be near it.
            optax.add_decayed_weights(
                hparams.weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
            ),
            optax.scale_by_learning_rate(lambda count: hparams.learning_rate * schedule(count)),
        )

    def with_discriminator(hparams: Hyperparameters) -> optax.GradientTransformation:
        # Kim & Mnih 2018 (arXiv 1802.05983, appendix A).
        of_discriminator = optax.chain(
            scale_by_adam(0.5, 0.9, section.epsilon),
            optax.scale_by_learning_rate(hparams.discriminator_learning_rate),
        )
        parts = {"discriminator": of_discriminator, "vae": of_model(hparams)}
        return optax.partition(parts, _part_of_factor_vae)

    return with_discriminator if config.objective.name == "factor" else of_model


def build_plan(
    config: ConfigDict, num_examples: int, most_steps_per_call: int | None = None
) -> Plan:
    """How long to train on so many examples, and when to look up.

    Args:
      config: a validated config.
      num_examples: size of the training set.
      most_steps_per_call: a bound on `config.steps_per_call`, which a stream has.
    """
    steps_per_call = config.steps_per_call
    if most_steps_per_call is not None:
        steps_per_call = min(steps_per_call, most_steps_per_call)
    return Plan(
        epochs=config.epochs,
        steps_per_epoch=num_examples // config.batch_size,
        steps_per_call=steps_per_call,
        batch_size=config.batch_size,
        patience=config.patience,
        checkpoint_seconds=config.checkpoints.every_seconds,
        max_checkpoints=config.checkpoints.max_to_keep,
        warmup_epochs=config.hparams.warmup_epochs,
    )


class Program(NamedTuple):
    """What a run executes: pure functions, not yet compiled, and its initial state.

    Attributes:
      graphdef: the model without its parameters.
      init: `init(mean_image, key, hparams)` makes the state before the first step.
      run_steps: `run_steps(state, examples, num_steps)` trains on examples that lie on the device.
      run_batches: `run_batches(state, batches)` trains on the batches given, a step each.
      validate: `validate(state, examples)` measures the objective on other examples.
    """

    graphdef: nnx.GraphDef
    init: Callable[[MeanImages, Key[Array, ""], Hyperparameters], RunState]
    run_steps: Callable[..., tuple[TrainState, dict[str, Float[Array, " steps"]]]]
    run_batches: Callable[
        [TrainState, StoredBatches], tuple[TrainState, dict[str, Float[Array, " steps"]]]
    ]
    validate: Callable[[TrainState, StoredExamples], Metrics]


def build_program(
    config: ConfigDict,
    form: DataForm,
    num_examples: int,
    *,
    split_batch: SplitBatch = whole_batch,
    axis_name: str | None = None,
) -> Program:
    """Everything that a run executes.

    Args:
      config: a validated config.
      form: height, width, channels; or the forms of several modalities.
      num_examples: size of the training set.
      split_batch: says which of a batch's examples are computed here.
      axis_name: the mapped axis under `jax.pmap`.
    """
    steps_per_epoch = num_examples // config.batch_size
    graphdef = build_graphdef(config, form)
    loss_fn = build_loss(config, graphdef, num_examples)
    make_optimizer = build_optimizer(config, config.epochs * steps_per_epoch)
    step_fn = functools.partial(
        train_step,
        loss_fn=loss_fn,
        make_optimizer=make_optimizer,
        accumulation_steps=config.optimizer.accumulation_steps,
        axis_name=axis_name,
    )
    # The same draw for every epoch and every seed: validation scores can be compared.
    validation_key = build_evaluation_keys(config).validation

    def init(
        mean_image: MeanImages,
        key: Key[Array, ""],
        hparams: Hyperparameters,
    ) -> RunState:
        model_key, run_key = jax.random.split(key)
        params = nnx.split(build_model(config, form, model_key, mean_image))[1]
        state = init_state(params, hparams, make_optimizer, run_key)
        return RunState(train=state, best_params=jax.tree.map(jnp.copy, params))

    def run_steps(
        state: TrainState, examples: StoredExamples, num_steps: int
    ) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
        return train_epoch(
            state,
            examples,
            step_fn=step_fn,
            batch_size=config.batch_size,
            num_steps=num_steps,
            split_batch=split_batch,
        )

    def run_batches(
        state: TrainState, batches: StoredBatches
    ) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
        return train_batches(state, batches, step_fn=step_fn, steps_per_epoch=steps_per_epoch)

    def validate(state: TrainState, examples: StoredExamples) -> Metrics:
        return evaluate(
            state.params,
            examples,
            state.hparams,
            # After any warm-up: epochs are compared by the objective that training ends with.
            jnp.float32(jnp.inf),
            validation_key,
            loss_fn=loss_fn,
            batch_size=config.evaluation.batch_size,
            split_batch=split_batch,
        )

    return Program(graphdef, init, run_steps, run_batches, validate)


def run_state_template(config: ConfigDict, form: DataForm) -> RunState:
    """The shapes of a run's state, to restore a checkpoint into."""
    program = build_program(config, form, num_examples=config.batch_size)
    mean = mean_template(form)
    return jax.eval_shape(program.init, mean, make_key(config.seed), build_hparams(config))
