"""Train an experiment, evaluate it and draw its plots; started again, continue where it stopped.

    python -m experiments.train --config=configs/vanilla.py --workdir=runs/vanilla
    python -m experiments.train --config=configs/beta.py --config.objective.beta=4 --workdir=runs/b4

All devices that JAX sees are used, with batches split among them; docs/scaling.md has more on
devices and on several processes.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import command_line, process_flags
from experiments import flags as shared
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.config import run
from vae_jax.data.pixels import to_unit_interval
from vae_jax.evaluation import drawing
from vae_jax.evaluation import summary as measuring
from vae_jax.settings import flatten
from vae_jax.trained import TrainedModel
from vae_jax.training.loop import RunState
from vae_jax.training.records import TensorBoardWriter

shared.define("format", "config", "workdir", "init_from", "accept_data", "log")
flags.adopt_module_key_flags(process_flags)

_PROFILE = flags.DEFINE_bool(
    "profile", False, "trace one compiled call of the training, for TensorBoard"
)


def _image_writer(
    config: Any, splits: run.Splits, state: RunState, tensorboard: TensorBoardWriter
) -> run.OnEpoch:
    assert not isinstance(splits, factory.JointSplits), "a joint run has no images for TensorBoard"
    shown_from = splits.validation or splits.train
    first = shown_from.read(np.arange(min(40, shown_from.shape[0])))
    shown = jnp.asarray(first.images)
    host = jax.device_get((state.train.params["model"], state.train.extra))
    model = TrainedModel(config, splits.form, *host)
    images = np.asarray(to_unit_interval(shown))
    condition = model.condition_of(images, first.labels, first.conditions)
    every = config.tensorboard.images_every_epochs
    return drawing.image_writer(model, images, every, tensorboard, condition)


def train(config: Any, folder: Path, *, accept_data: bool = False, **options: Any) -> None:
    """Train, evaluate and plot a run and print a line about it.

    Args:
      config: the experiment, or nested settings.
      folder: the run's directory.
      accept_data: whether to go on with other examples than those that the run began with.
      options: others of `vae_jax.config.run.train`.
    """
    experiment = factory.resolve(config, folder)
    summary, was_finished = run.train(
        experiment,
        folder,
        evaluate=lambda splits: measuring.evaluate_run(
            folder, splits.test, experiment.evaluation.num_samples, accept_data=accept_data
        ),
        make_image_writer=functools.partial(_image_writer, experiment),
        accept_data=accept_data,
        **options,
    )
    if summary is not None:
        print(f"{folder}{' is finished' if was_finished else ''}: {measuring.describe(summary)}")


@shared.in_formats
def main() -> None:
    """Check the config, then train; only describe a finished run."""
    folder = shared.required_workdir()
    config = shared.required_config(folder)
    settings = {**flatten(config.to_dict()), "--workdir": str(folder.absolute())}
    with process_flags.together(settings), workdir.left_as_it_was(folder):
        devices, kind = process_flags.devices_and_kind()
        train(
            config,
            folder,
            devices=devices,
            kind=kind,
            profile=_PROFILE.value,
            accept_data=flags.FLAGS.accept_data,
            log=flags.FLAGS.log,
        )


if __name__ == "__main__":
    command_line.run(main)
