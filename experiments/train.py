"""Train an experiment, evaluate it and draw its figures; started again, continue where it stopped.

    python -m experiments.train --config=configs/vanilla.py --workdir=runs/vanilla
    python -m experiments.train --config=configs/beta.py --config.objective.beta=4 --workdir=runs/b4

All devices that JAX sees are used, batches shared out among them; docs/scaling.md has more on that,
and on several processes.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import command_line, process_flags
from experiments import flags as shared
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.data.pixels import to_unit_interval
from vae_jax.data.streaming import Stream
from vae_jax.evaluation import summary as measuring
from vae_jax.settings import flatten
from vae_jax.trained import TrainedModel
from vae_jax.training import checkpoints, parallel, processes, profiling
from vae_jax.training.interruption import deferred
from vae_jax.training.loop import Plan, Progress, RunState, RunSteps, Validate, fit
from vae_jax.training.records import JsonLinesWriter, ProgressWriter, TensorBoardWriter, Writer
from vae_jax.training.step import Metrics, TrainState

shared.define("config", "workdir")
flags.adopt_module_key_flags(process_flags)

Splits = factory.Splits | factory.StreamedSplits | factory.JointSplits

_PROFILE = flags.DEFINE_bool(
    "profile", False, "trace one compiled call of the training into the workdir's tensorboard/"
)


def train(
    config: factory.AnyExperiment,
    folder: Path,
    *,
    devices: Sequence[jax.Device] | None = None,
    kind: parallel.Kind = "jit",
    profile: bool = False,
) -> None:
    """Train until the plan is fulfilled, from the newest checkpoint if there is one.

    Args:
      config: a validated config.
      folder: the run's directory; several processes must share it.
      devices: to train on, those of all processes; by default one.
      kind: how several are used together.
      profile: whether to trace a compiled call.

    Raises:
      UserError: the data or the directory do not fit the config, or training cannot go on.
      Interrupted: a signal came; a checkpoint has been written.
    """
    config = factory.resolve(config)
    devices = jax.local_devices()[:1] if devices is None else devices
    if kind == "pmap" and len(devices) > 1:
        factory.refuse_parts(config, "--parallel=pmap", "--parallel=jit")
    splits = factory.open_examples(config)
    parallel.check_batch_size(config.batch_size, config.optimizer.accumulation_steps, len(devices))
    num_examples, form = splits.num_examples, splits.form
    build_program = functools.partial(factory.build_program, config, form, num_examples)
    compiled = parallel.compile_program(build_program, devices, kind)
    most_steps = None
    if isinstance(splits, factory.StreamedSplits):
        most_steps = factory.most_streamed_steps(config, splits.train)
    plan = factory.build_plan(config, num_examples, most_steps)
    directory = folder / "checkpoints"
    with _held(folder, config):
        state, progress = _initial_or_restored(compiled, config, splits, directory)
        finished = progress.stopped_early or int(state.train.step) == plan.total_steps
        first_step = int(state.train.step)
        summary = workdir.read_summary(folder) if processes.is_first() else None
        # A summary of an earlier state is that of an evaluation in mid-run.
        is_told_of = finished and summary is not None and summary.get("step") == first_step
        # What the first process decides is for all: the others do not read the summary.
        if processes.from_first(int(is_told_of)):
            if summary is not None:
                print(f"{folder} is finished: {measuring.describe(summary)}")
            return
        validate = _validation(compiled, splits)
        with contextlib.ExitStack() as stack:
            writers: list[Writer] = []
            on_epoch = None
            if processes.is_first():
                tensorboard = TensorBoardWriter(folder / "tensorboard", first_step)
                writers = [
                    JsonLinesWriter(folder / "metrics.jsonl", first_step),
                    tensorboard,
                    ProgressWriter(
                        total_steps=plan.total_steps,
                        first_step=first_step,
                        batch_size=plan.batch_size,
                    ),
                ]
                if config.model.takes == "images" and config.tensorboard.images_every_epochs > 0:
                    on_epoch = _image_writer(config, splits, state, tensorboard)
            for writer in writers:
                stack.enter_context(contextlib.closing(writer))
            run_steps, describe_call = _steps(config, compiled, splits, plan, state.train, stack)
            if profile:
                run_steps = profiling.profiled(run_steps, folder / "tensorboard")
            interruption = stack.enter_context(deferred())
            fit(
                state,
                progress,
                plan=plan,
                run_steps=run_steps,
                validate=validate,
                writers=writers,
                checkpoint_dir=directory,
                metadata=factory.to_metadata(form),
                interruption=interruption,
                on_epoch=on_epoch or (lambda state, epoch: None),
                describe_call=describe_call,
            )
        # What is left is small, and done by one process on one device.
        if not processes.is_first():
            return
        summary = measuring.evaluate_run(folder, splits.test, config.evaluation.num_samples)
        print(f"{folder}: {measuring.describe(summary)}")


def _held(folder: Path, config: factory.AnyExperiment) -> contextlib.AbstractContextManager[None]:
    """The run's directory for ourselves; the first of several processes holds it for all."""
    if processes.is_first():
        return factory.hold_run(folder, config)
    return contextlib.nullcontext()


def _initial_or_restored(
    compiled: parallel.Compiled, config: factory.AnyExperiment, splits: Splits, directory: Path
) -> tuple[RunState, Progress]:
    begun = processes.is_first() and bool(checkpoints.steps(directory))
    newest = checkpoints.newest(directory, set_torn_aside=True) if begun else None
    if begun and newest is None:
        logging.warning("no checkpoint in %s is whole; starting anew", directory)
    step = processes.from_first(-1 if newest is None else newest)
    if step >= 0:
        saved = checkpoints.metadata_of(directory, step)
        progress = Progress(**{name: saved[name] for name in Progress.__dataclass_fields__})
        state = factory.read_run_state(directory, step, saved, config, splits.form)
        return compiled.put(state), progress
    key, hparams = factory.make_key(config.seed), factory.build_hparams(config)
    return compiled.init(*compiled.put((splits.mean_image, key, hparams))), Progress()


def _steps(
    config: factory.AnyExperiment,
    compiled: parallel.Compiled,
    splits: Splits,
    plan: Plan,
    state: TrainState,
    stack: contextlib.ExitStack,
) -> tuple[RunSteps, Callable[[float], dict[str, float]]]:
    """The compiled steps on their data, and what else a call's record tells, given its seconds."""
    if isinstance(splits, factory.StreamedSplits):
        stream = factory.build_stream(
            config,
            splits.train,
            plan,
            state,
            put=compiled.put_batches,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        stack.enter_context(stream)
        return _steps_from_stream(compiled, stream), functools.partial(_data_wait_share, stream)
    examples = compiled.put(splits.train_examples)
    return lambda state, num_steps: compiled.run_steps(state, examples, num_steps), _no_figures


def _steps_from_stream(compiled: parallel.Compiled, stream: Stream) -> RunSteps:
    return lambda state, num_steps: compiled.run_batches(state, stream.take(num_steps))


def _data_wait_share(stream: Stream, seconds: float) -> dict[str, float]:
    """Of the time of the latest call, the share in which it waited for its batches."""
    return {"data_wait_share": stream.seconds_waited / seconds}


def _no_figures(seconds: float) -> dict[str, float]:
    del seconds
    return {}


def _validation(compiled: parallel.Compiled, splits: Splits) -> Validate | None:
    if splits.validation_examples is None:
        return None
    examples = compiled.put(splits.validation_examples)

    def validate(state: TrainState) -> Metrics:
        return compiled.validate(state, examples)

    return validate


def _image_writer(
    config: factory.AnyExperiment, splits: Splits, state: RunState, tensorboard: TensorBoardWriter
) -> Callable[[RunState, int], None]:
    """Writes images of the first held-out examples after an epoch."""
    assert not isinstance(splits, factory.JointSplits), "validate refuses images of these"
    shown_from = splits.validation or splits.train
    shown = jnp.asarray(shown_from.read(np.arange(min(40, shown_from.shape[0]))).images)
    model = TrainedModel(config, splits.form, jax.device_get(state.train.params["model"]))
    return functools.partial(_write_images, tensorboard, model, np.asarray(to_unit_interval(shown)))


def _write_images(
    tensorboard: TensorBoardWriter,
    model: TrainedModel,
    images: np.ndarray,
    state: RunState,
    epoch: int,
) -> None:
    """Samples and reconstructions for TensorBoard, now and then, by the parameters of `state`."""
    if epoch % model.config.tensorboard.images_every_epochs:
        return
    # To this process: what only one computes must not wait for the others' devices.
    model.params, step = jax.device_get(state.train.params["model"]), int(state.train.step)
    tensorboard.write_images("originals", images, step)
    tensorboard.write_images("reconstructions", model.reconstruct(images), step)
    if model.has_density:
        tensorboard.write_images("samples", model.sample(jax.random.key(0), len(images)), step)


def main() -> None:
    """Check the config, then train; a finished run is only told of."""
    folder, config = shared.required_workdir(), shared.required_config()
    settings = {**flatten(config.to_dict()), "--workdir": str(folder.absolute())}
    with process_flags.together(settings):
        devices, kind = process_flags.devices_and_kind()
        train(config, folder, devices=devices, kind=kind, profile=_PROFILE.value)


if __name__ == "__main__":
    command_line.run(main)
