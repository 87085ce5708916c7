"""Train an experiment, evaluate it and draw its figures; started again, continue where it stopped.

python -m experiments.train --config=configs/vanilla.py --workdir=runs/vanilla
python -m experiments.train --config=configs/beta.py --config.hparams.beta=4 --workdir=runs/beta4
"""

import contextlib
import functools
import logging
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments import command_line, config_flag, measuring
from vae_jax import checkpoints, factory, workdir
from vae_jax.data import Dataset
from vae_jax.data.pixels import to_unit_interval
from vae_jax.data.streaming import Stream
from vae_jax.interruption import deferred
from vae_jax.metric_writers import JsonLinesWriter, ProgressWriter, TensorBoardWriter, Writer
from vae_jax.trained_model import TrainedModel
from vae_jax.training_loop import Progress, RunState, RunSteps, fit


def train(config: ConfigDict, folder: Path) -> None:
    """Train until the plan is fulfilled, from the newest checkpoint if there is one."""
    splits = factory.open_splits(config)
    num_examples, *shape = splits.train.shape
    image_shape = (shape[0], shape[1], shape[2])
    program = factory.build_program(config, image_shape, num_examples)
    most_steps = None
    if isinstance(splits, factory.StreamedSplits):
        most_steps = factory.most_streamed_steps(config, splits.train)
    plan = factory.build_plan(config, num_examples, most_steps)
    directory = folder / "checkpoints"
    with workdir.hold(folder, config.to_dict()):
        state, progress = _initial_or_restored(program, config, splits, directory)
        finished = progress.stopped_early or int(state.train.step) == plan.total_steps
        first_step = int(state.train.step)
        summary = workdir.read_summary(folder)
        # A summary of an earlier state is that of an evaluation in mid-run.
        if finished and summary is not None and summary.get("step") == first_step:
            print(f"{folder} is finished: {measuring.describe(summary)}")
            return
        validate = None
        if splits.validation is not None:
            validate = functools.partial(
                jax.jit(program.validate), images=jnp.asarray(splits.validation.images)
            )
        tensorboard = TensorBoardWriter(folder / "tensorboard", first_step)
        writers: list[Writer] = [
            JsonLinesWriter(folder / "metrics.jsonl", first_step),
            tensorboard,
            ProgressWriter(
                total_steps=plan.total_steps, first_step=first_step, batch_size=plan.batch_size
            ),
        ]
        shown_from = splits.validation or splits.train
        shown = jnp.asarray(shown_from.read(np.arange(min(40, shown_from.shape[0]))).images)
        model = TrainedModel(config, image_shape, state.train.params)
        with contextlib.ExitStack() as stack:
            for writer in writers:
                stack.enter_context(contextlib.closing(writer))
            describe_call: Callable[[float], dict[str, float]] = _no_figures
            if isinstance(splits, factory.StreamedSplits):
                stream = factory.build_stream(config, splits.train, plan, state.train)
                stack.enter_context(stream)
                run_steps = _steps_from_stream(program, stream)
                describe_call = functools.partial(_data_wait_share, stream)
            else:
                run_steps = _steps_from_memory(program, splits.train)
            with deferred() as interruption:
                fit(
                    state,
                    progress,
                    plan=plan,
                    run_steps=run_steps,
                    validate=validate,
                    writers=writers,
                    checkpoint_dir=directory,
                    metadata={"image_shape": image_shape},
                    interruption=interruption,
                    on_epoch=functools.partial(
                        _write_images, tensorboard, model, np.asarray(to_unit_interval(shown))
                    ),
                    describe_call=describe_call,
                )
        summary = measuring.evaluate_run(folder, splits.test, config.evaluation.num_samples)
        print(f"{folder}: {measuring.describe(summary)}")


def _steps_from_memory(program: factory.Program, train: Dataset) -> RunSteps:
    """The compiled steps on images that are kept on the device."""
    images = jnp.asarray(train.images)
    run_steps = jax.jit(program.run_steps, static_argnames="num_steps", donate_argnums=0)
    return lambda state, num_steps: run_steps(state, images, num_steps=num_steps)


def _steps_from_stream(program: factory.Program, stream: Stream) -> RunSteps:
    """The compiled steps on batches that come as they are needed."""
    run_batches = jax.jit(program.run_batches, donate_argnums=0)
    return lambda state, num_steps: run_batches(state, stream.take(num_steps))


def _data_wait_share(stream: Stream, seconds: float) -> dict[str, float]:
    """Of the time of the latest call, the share in which it waited for its batches."""
    return {"data_wait_share": stream.seconds_waited / seconds}


def _no_figures(seconds: float) -> dict[str, float]:
    del seconds
    return {}


def _initial_or_restored(
    program: factory.Program,
    config: ConfigDict,
    splits: factory.Splits | factory.StreamedSplits,
    directory: Path,
) -> tuple[RunState, Progress]:
    if checkpoints.steps(directory):
        template = factory.run_state_template(config, splits.train.shape[1:])
        checkpoint = checkpoints.restore(directory, template, set_torn_aside=True)
        if checkpoint is not None:
            saved = checkpoint.metadata
            fields = Progress.__dataclass_fields__
            return checkpoint.tree, Progress(**{name: saved[name] for name in fields})
        logging.warning("no checkpoint in %s is whole; starting anew", directory)
    mean_image = factory.mean_image(splits.train)
    key, hparams = factory.make_key(config.seed), factory.build_hparams(config)
    return jax.jit(program.init)(mean_image, key, hparams), Progress()


def _write_images(
    tensorboard: TensorBoardWriter,
    model: TrainedModel,
    images: np.ndarray,
    state: RunState,
    epoch: int,
) -> None:
    """Samples and reconstructions for TensorBoard, now and then, by the parameters of `state`."""
    every = model.config.tensorboard.images_every_epochs
    if every == 0 or epoch % every:
        return
    model.params, step = state.train.params, int(state.train.step)
    tensorboard.write_images("originals", images, step)
    tensorboard.write_images("reconstructions", model.reconstruct(images), step)
    if model.is_vae:
        tensorboard.write_images("samples", model.sample(jax.random.key(0), len(images)), step)


def main() -> None:
    """Check the config, then train; a finished run is only told of."""
    folder, config = command_line.required_workdir(), config_flag.required_config()
    command_line.use_compilation_cache()
    train(config, folder)


if __name__ == "__main__":
    command_line.run(main)
