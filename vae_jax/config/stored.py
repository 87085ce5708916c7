"""The experiment and the best model of a run, read from its directory."""

from pathlib import Path
from typing import NamedTuple

import jax
from flax import nnx

from vae_jax import workdir
from vae_jax.config.build import abstract_model
from vae_jax.config.experiment import AnyExperiment, resolve
from vae_jax.config.forms import DataForm, from_metadata
from vae_jax.errors import UserError
from vae_jax.training import checkpoints


def read_experiment(folder: Path) -> AnyExperiment:
    """Return the experiment of the run in `folder`, checked and upgraded to the present schema.

    Raises:
      UserError: there is no run, or its config is damaged or of a later schema.
    """
    try:
        return resolve(workdir.read_config(folder))
    except UserError as error:
        raise UserError(f"the config of workdir={str(folder)!r}: {error}") from None


def refuse_other_config(folder: Path, found: checkpoints.Found) -> None:
    """Refuse a checkpoint that was not written with the config.json in the run's directory.

    Raises:
      UserError: the checkpoint is of another run, or config.json was changed.
    """
    # Earlier versions did not write it down.
    recorded = found.metadata.get("config")
    if recorded not in (None, workdir.written_digest(folder)):
        raise UserError(
            f"{folder / 'checkpoints' / str(found.step)} was not written with "
            f"{folder / 'config.json'}: one of the two was changed or is of another run; bring the "
            "right one back, or use another workdir"
        )


class Stored(NamedTuple):
    """The best model of a run.

    Attributes:
      form: of the run's examples.
      params: the model's parameters.
      extra: its state that is learned without a gradient.
      checkpoint: the one that they were read from.
    """

    form: DataForm
    params: nnx.State
    extra: nnx.State
    checkpoint: checkpoints.Found


def best_model(folder: Path, config: AnyExperiment) -> Stored:
    """Return the best model of the run in `folder`; other arrays of the checkpoint are not read.

    Raises:
      UserError: the run has no whole checkpoint, or the newest is not of its config.
    """
    directory = folder / "checkpoints"
    if not checkpoints.steps(directory):
        raise UserError(f"workdir={str(folder)!r} has no checkpoint yet; train it first")
    with checkpoints.held(directory) as found:
        if found is None:
            raise UserError(f"no checkpoint in {directory} is whole; train the run again")
        refuse_other_config(folder, found)
        form = from_metadata(found.metadata)
        _, params, extra = abstract_model(config, form)
        template = {"best_params": params}
        if jax.tree.leaves(extra):
            template["best_extra"] = extra
        read = checkpoints.read_part(directory, found.step, template)
    return Stored(form, read["best_params"], read.get("best_extra", extra), found)
