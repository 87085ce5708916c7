"""The experiment and the best model of a run, read from its directory."""

from pathlib import Path
from typing import Any

import jax
from flax import nnx

from vae_jax import workdir
from vae_jax.config.build import build_model, split_model
from vae_jax.config.experiment import AnyExperiment, resolve
from vae_jax.config.forms import from_metadata
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


def best_model(folder: Path, config: AnyExperiment) -> tuple[Any, nnx.State, nnx.State]:
    """Return the form of a run's examples, and the best model's parameters and extra state.

    Other arrays of the checkpoint are not read.

    Raises:
      UserError: the run has no whole checkpoint.
    """
    directory = folder / "checkpoints"
    if not checkpoints.steps(directory):
        raise UserError(f"workdir={str(folder)!r} has no checkpoint yet; train it first")
    found = checkpoints.find(directory)
    if found is None:
        raise UserError(f"no checkpoint in {directory} is whole; train the run again")
    form = from_metadata(found.metadata)
    model = nnx.eval_shape(lambda: build_model(config, form, jax.random.key(0)))
    _, params, extra = split_model(model)
    template = {"best_params": params}
    if jax.tree.leaves(extra):
        template["best_extra"] = extra
    read = checkpoints.read_part(directory, found.step, template)
    return form, read["best_params"], read.get("best_extra", extra)
