"""A run that goes on: its directory and its state, of this schema or an earlier one."""

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
from vae_jax.config.forms import DataForm
from vae_jax.config.programs import build_hparams, run_state_template
from vae_jax.config.upgrades import SCHEMA
from vae_jax.errors import UserError
from vae_jax.training import checkpoints
from vae_jax.training.loop import RunState

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
      step: one of which there is a whole checkpoint.
      metadata: what stands beside its arrays.
      experiment: the run's.
      form: of the run's examples.

    Raises:
      UserError: a later version of vae_jax wrote the checkpoint.
    """
    template = run_state_template(experiment, form)
    if _schema(directory, step, metadata) >= _BY_NAME:
        state: RunState = checkpoints.read(directory, step, template).tree
        return state
    state = _read_flat(directory, step, experiment, form, template, lambda shapes: shapes)
    return state._replace(train=state.train._replace(hparams=build_hparams(experiment)))


def read_member_states(
    directory: Path, found: checkpoints.Found, experiments: Sequence[AnyExperiment], form: DataForm
) -> RunState:
    """Return the states, stacked, that the members of a chunk of a sweep continue from.

    Args:
      directory: the chunk's `checkpoints` folder.
      found: a checkpoint there that is whole.
      experiments: those of the members.
      form: of the examples.

    Raises:
      UserError: a later version of vae_jax wrote the checkpoint.
    """

    def stacked(shapes: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((len(experiments), *leaf.shape), leaf.dtype), shapes
        )

    template = run_state_template(experiments[0], form)
    if _schema(directory, found.step, found.metadata) >= _BY_NAME:
        state: RunState = checkpoints.read(directory, found.step, stacked(template)).tree
        return state
    state = _read_flat(directory, found.step, experiments[0], form, template, stacked)
    hparams = [build_hparams(experiment) for experiment in experiments]
    by_member = jax.tree.map(lambda *values: jnp.stack(values), *hparams)
    return state._replace(train=state.train._replace(hparams=by_member))


def _schema(directory: Path, step: int, metadata: dict[str, Any]) -> int:
    schema = metadata.get("schema", 1)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise UserError(
            f"{directory / str(step)} has schema={schema!r}, which a later version of vae_jax wrote"
        )
    return schema


def _read_flat(
    directory: Path,
    step: int,
    experiment: AnyExperiment,
    form: DataForm,
    template: RunState,
    with_axes: Callable[[Any], Any],
) -> RunState:
    """Return the state of schema 1, where all parameters stood in one tree.

    Its traced settings are not read: the config has them. `with_axes` puts leading axes to shapes.
    """
    train = template.train
    hparams = build_hparams(experiment)
    players = build_players(experiment, form, experiment.batch_size)
    model, others = train.params["model"], {k: v for k, v in train.params.items() if k != "model"}

    def optimizer_state(index: int, params: nnx.State) -> Any:
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
        return jax.eval_shape(lambda: players[index].make_optimizer(hparams).init(zeros))

    opt_state = optimizer_state(0, model)
    if others:
        # The optimisers were parts of one, by the name of what they moved.
        (name,) = others
        opt_state = {
            "inner_states": {
                name: {"inner_state": optimizer_state(1, nnx.State({name: others[name]}))},
                "vae": {"inner_state": opt_state},
            }
        }
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
    params = read["train"]["params"]
    by_name = {"model": nnx.State({k: v for k, v in params.items() if k not in others})}
    by_name |= {name: params[name] for name in others}
    found = read["train"]["opt_state"]
    states = [found]
    if others:
        inner = found["inner_states"]
        states = [inner["vae"]["inner_state"], inner[next(iter(others))]["inner_state"]]
    return template._replace(
        train=train._replace(
            step=read["train"]["step"],
            params=_with_leaves_of(train.params, by_name),
            opt_state={
                player.name: _with_leaves_of(train.opt_state[player.name], state)
                for player, state in zip(players, states, strict=True)
            },
            noise_key=read["train"]["noise_key"],
            order_key=read["train"]["order_key"],
        ),
        best_params=read["best_params"],
    )


def _with_leaves_of(template: Any, tree: Any) -> Any:
    return jax.tree.unflatten(jax.tree.structure(template), jax.tree.leaves(tree))
