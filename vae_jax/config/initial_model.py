"""The model of another run, with which a run begins; its optimisers begin anew.

From the first checkpoint on it is in the run's own checkpoints, and the other run is not read
again.
"""

from pathlib import Path

import jax
from flax import nnx
from jaxtyping import Array

from vae_jax import workdir
from vae_jax.config.build import abstract_model
from vae_jax.config.experiment import AnyExperiment, first_stage_of, read_init_from
from vae_jax.config.forms import DataForm
from vae_jax.config.model_file import named_arrays
from vae_jax.config.stored import Stored, best_model, read_experiment
from vae_jax.errors import UserError

# The arrays of parameters and extra state, in the order of a model's state; None begins anew.
InitialArrays = list[Array] | None


def read_initial_arrays(experiment: AnyExperiment, form: DataForm) -> InitialArrays:
    """Return the arrays of the best model of the run that an experiment starts from.

    Args:
      experiment: the new run's.
      form: of the new run's examples.

    Returns:
      None of an experiment that starts from no other run.

    Raises:
      UserError: the run is gone or has changed, or its model is another one; the first array that
        differs is named.
    """
    ours = experiment.init_from
    if not ours.workdir:
        return None
    there = read_init_from(ours.workdir)
    where = f"init_from={ours.workdir!r}"
    if (there.step, there.digest) != (ours.step, ours.digest):
        raise UserError(
            f"{where} has the checkpoint of step {there.step} with digest {there.digest}, and this "
            f"run began with that of step {ours.step} with digest {ours.digest or '(none)'}; use "
            "another workdir for this run"
        )
    folder = workdir.run_folder(Path(ours.workdir), None)
    source = read_experiment(folder)
    stored = best_model(folder, source)
    _, params, extra = abstract_model(experiment, form)
    found = dict(named_arrays(stored.params, stored.extra))
    wanted = named_arrays(params, extra)
    for name, leaf in wanted:
        if name not in found:
            raise UserError(
                f"{where} has another model: {name} is not there, and here it has shape "
                f"{_shape(leaf)}; use the model settings of that run"
            )
        if found[name].shape != leaf.shape or found[name].dtype != leaf.dtype:
            raise UserError(
                f"{where} has another model: {name} has shape {_shape(found[name])} there and "
                f"{_shape(leaf)} here; use the model settings of that run, on data of its form"
            )
    more = sorted(found.keys() - dict(wanted).keys())
    if more:
        raise UserError(
            f"{where} has another model: {more[0]} has shape {_shape(found[more[0]])} there and is "
            "not here; use the model settings of that run"
        )
    _refuse_other_meaning(where, experiment, source, form, stored)
    return [found[name] for name, _ in wanted]


def with_initial(
    params: nnx.State, extra: nnx.State, arrays: InitialArrays
) -> tuple[nnx.State, nnx.State]:
    """Return the parameters and the extra state of a model with the arrays of another run's."""
    if arrays is None:
        return params, extra
    filled: tuple[nnx.State, nnx.State] = jax.tree.unflatten(
        jax.tree.structure((params, extra)), arrays
    )
    return filled


def _refuse_other_meaning(
    where: str, experiment: AnyExperiment, source: AnyExperiment, form: DataForm, stored: Stored
) -> None:
    """Refuse arrays of the right shapes that stand for other codes or other words."""
    ours, theirs = first_stage_of(experiment.model), first_stage_of(source.model)
    if ours and theirs and (ours[1].step, ours[1].digest) != (theirs[1].step, theirs[1].digest):
        raise UserError(
            f"{where} is a prior over the codes of {theirs[1].workdir!r}, and "
            f"model.{ours[0]}={ours[1].workdir!r} has others; use the same first stage"
        )
    if isinstance(form, dict) and isinstance(stored.form, dict):
        for name, part in form.items():
            if name in stored.form and part.words != stored.form[name].words:
                raise UserError(
                    f"{where} was trained on a {name} of other words; use texts of the same "
                    "vocabulary"
                )


def _shape(leaf: Array | jax.ShapeDtypeStruct) -> str:
    return f"{tuple(leaf.shape)} of {leaf.dtype}"
