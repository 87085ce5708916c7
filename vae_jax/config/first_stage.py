"""The parameters of a model's first stage, copied into a run of the second when it begins.

From then on they are in the run's own checkpoints, and the first stage's workdir is not read again.
"""

import dataclasses
from pathlib import Path

import jax
from flax import nnx
from jaxtyping import Array

from vae_jax import workdir
from vae_jax.config.experiment import AnyExperiment, first_stage_of, read_first_stage
from vae_jax.config.stored import best_model, read_experiment
from vae_jax.errors import UserError

# The arrays of a first stage, in the order of its state, by the name of the setting that names it.
FirstStageArrays = dict[str, list[Array]]


def read_first_stage_arrays(experiment: AnyExperiment) -> FirstStageArrays:
    """Return the best model's arrays of an experiment's first stage; nothing if it has none.

    Raises:
      UserError: the first stage is gone, or it is not the run that the experiment describes.
    """
    found = first_stage_of(experiment.model)
    if found is None:
        return {}
    name, first_stage = found
    there = read_first_stage(first_stage.workdir)
    for field in dataclasses.fields(first_stage):
        ours, theirs = (getattr(stage, field.name) for stage in (first_stage, there))
        if ours != theirs:
            raise UserError(
                f"model.{name}={first_stage.workdir!r} has another {field.name} than this run "
                f"began with: {theirs!r}, not {ours!r}; use another workdir for this run"
            )
    folder = workdir.run_folder(Path(first_stage.workdir), None)
    stored = best_model(folder, read_experiment(folder))
    return {name: jax.tree.leaves(nnx.merge_state(stored.params, stored.extra))}


def with_first_stage(extra: nnx.State, first_stage: FirstStageArrays) -> nnx.State:
    """Return the extra state of a model with the arrays of its first stage."""
    for name, arrays in first_stage.items():
        copied = jax.tree.unflatten(jax.tree.structure(extra[name]), arrays)
        extra = nnx.merge_state(extra, nnx.State({name: copied}))
    return extra
