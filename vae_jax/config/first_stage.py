"""The parameters of a model's first stage, copied into a run of the second when it begins.

From then on they are in the run's own checkpoints, and the first stage's workdir is not read again.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vae_jax import workdir
from vae_jax.config.experiment import AnyExperiment, first_stage_of, read_first_stage
from vae_jax.config.stored import best_model, read_experiment
from vae_jax.errors import UserError
from vae_jax.models.code_prior import FirstStage
from vae_jax.training.loop import RunState


def with_first_stage(state: RunState, experiment: AnyExperiment) -> RunState:
    """Return the state before the first step with the parameters of the model's first stage.

    Without a first stage it is the same state.

    Raises:
      UserError: the first stage is gone, or it is not the run that the experiment describes.
    """
    found = first_stage_of(experiment.model)
    if found is None:
        return state
    name, first_stage = found
    leaves = jax.tree.leaves(_best_state(first_stage))

    def put(extra: nnx.State) -> nnx.State:
        old, structure = jax.tree.flatten(extra[name])
        new = [
            jnp.copy(jax.device_put(np.asarray(leaf), there.sharding))
            for leaf, there in zip(leaves, old, strict=True)
        ]
        return nnx.merge_state(extra, nnx.State({name: jax.tree.unflatten(structure, new)}))

    train = state.train._replace(extra=put(state.train.extra))
    return state._replace(train=train, best_extra=put(state.best_extra))


def _best_state(first_stage: FirstStage) -> nnx.State:
    """Return the parameters and the extra state of the best model of a first stage."""
    there = read_first_stage(first_stage.workdir)
    ours, theirs = (dataclasses.asdict(stage) for stage in (first_stage, there))
    for field, value in ours.items():
        if theirs[field] != value:
            raise UserError(
                f"model.first_stage={first_stage.workdir!r} has another {field} than this run "
                f"began with: {theirs[field]!r}, not {value!r}; use another workdir for this run"
            )
    folder = workdir.run_folder(Path(first_stage.workdir), None)
    _, params, extra = best_model(folder, read_experiment(folder))
    return nnx.merge_state(params, extra)
