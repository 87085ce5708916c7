"""The directory and the state of a run that goes on, of this schema or an earlier one."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vae_jax import workdir
from vae_jax.config.build import build_players
from vae_jax.config.experiment import AnyExperiment, resolve
from vae_jax.config.forms import DataForm, described, from_metadata
from vae_jax.config.programs import build_hparams, run_state_template
from vae_jax.config.upgrades import check_schema
from vae_jax.data.columns import RowShape
from vae_jax.errors import UserError
from vae_jax.training import checkpoints
from vae_jax.training.loop import RunState
from vae_jax.training.players import Hparams

# Since this schema a state has networks and optimisers by name.
_BY_NAME = 2


def hold_run(folder: Path, experiment: AnyExperiment) -> AbstractContextManager[None]:
    """Keep a run's directory for this process; create it, or insist on the same experiment.

    Raises:
      UserError: it cannot be written, another process holds it, or it is of another experiment.
    """
    return workdir.hold(folder, experiment.to_dict(), as_now=lambda found: resolve(found).to_dict())


def read_run_state(
    directory: Path, step: int, metadata: dict[str, Any], experiment: AnyExperiment, form: DataForm
) -> RunState:
    """Return the state that a run continues from.

    Args:
      directory: the run's `checkpoints` folder.
      step: the step of a whole checkpoint.
      metadata: that of the checkpoint.
      experiment: that of the run.
      form: that of the run's examples.

    Raises:
      UserError: a later version of vae_jax wrote the checkpoint, or its examples have another form.
    """
    hparams = build_hparams(experiment)
    return _read(directory, step, metadata, experiment, form, hparams, lambda shapes: shapes)


def read_member_states(
    directory: Path, found: checkpoints.Found, experiments: Sequence[AnyExperiment], form: DataForm
) -> RunState:
    """Return the states, stacked, that the members of a chunk of a sweep continue from.

    Args:
      directory: the chunk's `checkpoints` folder.
      found: a whole checkpoint there.
      experiments: those of the members.
      form: that of the examples.

    Raises:
      UserError: a later version of vae_jax wrote the checkpoint, or its examples have another form.
    """

    def stacked(shapes: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((len(experiments), *leaf.shape), leaf.dtype), shapes
        )

    hparams = jax.tree.map(lambda *values: jnp.stack(values), *map(build_hparams, experiments))
    return _read(directory, found.step, found.metadata, experiments[0], form, hparams, stacked)


def _read(
    directory: Path,
    step: int,
    metadata: dict[str, Any],
    experiment: AnyExperiment,
    form: DataForm,
    hparams: Hparams,
    with_axes: Callable[[Any], Any],
) -> RunState:
    """Return the state in a checkpoint; `with_axes` puts leading axes to shapes.

    The traced settings in a checkpoint of schema 1 are not read: `hparams` are those of the config.
    """
    schema = metadata.get("schema", 1)
    check_schema(schema, str(directory / str(step)))
    recorded = from_metadata(metadata)
    if recorded != form:
        if isinstance(recorded, RowShape) and isinstance(form, RowShape):
            raise UserError(
                f"{directory / str(step)} is of a run on a table with other columns, or other "
                "statistics of its training rows; bring those back, or use another workdir"
            )
        raise UserError(
            f"the examples of data.train_split are {described(form)}, and {directory / str(step)} "
            f"is of a run on {described(recorded)}; bring those back, or use another workdir"
        )
    template = run_state_template(experiment, form)
    if schema >= _BY_NAME:
        state: RunState = checkpoints.read(directory, step, with_axes(template)).tree
        return state
    train = template.train
    model = train.params["model"]
    others = {name: params for name, params in train.params.items() if name != "model"}
    trees = [model, *(nnx.State({name: params}) for name, params in others.items())]
    players = build_players(experiment, form, experiment.batch_size)
    shapes = [
        jax.eval_shape(player.make_optimizer(build_hparams(experiment)).init, tree)
        for player, tree in zip(players, trees, strict=True)
    ]
    opt_state = shapes[0]
    if others:
        # One optimiser held those of all networks, by name.
        by_name = zip(("vae", *others), shapes, strict=True)
        opt_state = {"inner_states": {name: {"inner_state": inner} for name, inner in by_name}}
    # All parameters stood in one tree.
    flat = {
        "train": {
            "step": train.step,
            "params": nnx.State({**model, **others}),
            "opt_state": opt_state,
            "noise_key": train.noise_key,
            "order_key": train.order_key,
        },
        "best_params": template.best_params,
    }
    read = checkpoints.read_part(directory, step, with_axes(flat))
    old = read["train"]
    params = {
        "model": nnx.State({k: v for k, v in old["params"].items() if k not in others}),
        **{name: old["params"][name] for name in others},
    }
    opt_states = [old["opt_state"]]
    if others:
        inner_states = old["opt_state"]["inner_states"]
        opt_states = [inner_states[name]["inner_state"] for name in ("vae", *others)]
    return template._replace(
        train=train._replace(
            step=old["step"],
            params=_with_leaves_of(train.params, params),
            opt_state={
                player.name: _with_leaves_of(train.opt_state[player.name], opt_state)
                for player, opt_state in zip(players, opt_states, strict=True)
            },
            hparams=hparams,
            noise_key=old["noise_key"],
            order_key=old["order_key"],
        ),
        best_params=read["best_params"],
    )


def _with_leaves_of(template: Any, tree: Any) -> Any:
    """Return the leaves of a tree in the structure of a template."""
    return jax.tree.unflatten(jax.tree.structure(template), jax.tree.leaves(tree))
