"""Members of a sweep in one compiled program, in turn or side by side.

A member is a run of its own: its parameters, hyperparameters, seed, data order and early stopping.
On an accelerator, which one small model leaves idle, members are stacked on a leading axis and go
through `jax.vmap` of the functions of a single run side by side, spread over the devices there are.
On a CPU, which one member keeps busy, they go through the compiled function in turn: side by side
their parameters would fall out of its cache at every step. In both a member that has ended rests,
and no member's numbers depend on the others.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Num, PyTree

from vae_jax.data.pixels import StoredExamples
from vae_jax.training.loop import Program, RunState, all_finite, copy_tree

Mask = Bool[np.ndarray, " members"]
# By name; one row per member, of one value per step if there are several. NaN for those at rest.
MemberMetrics = dict[str, Float[np.ndarray, "members *steps"]]
States = TypeVar("States")

_AXIS = "members"

# Stored examples, of another number than those trained on.
_HeldOut = Num[Array, "held_out ..."] | dict[str, Array]


class Trained(NamedTuple):
    """The result of a call.

    Attributes:
      states: of all members.
      trained: the members that took the steps.
      finite: the members whose loss and parameters are finite; others have the state from before.
      metrics: those of every step; NaN for members that did not train.
    """

    states: Any
    trained: Mask
    finite: Mask
    metrics: MemberMetrics


@runtime_checkable
class MemberFunctions(Protocol[States]):
    """The compiled functions of a program over all members of a chunk."""

    @property
    def validates(self) -> bool:
        """True if there are examples to validate on."""

    def num_slots(self, num_members: int, least: int) -> int:
        """Return the number of members that the states have room for, `least` at least."""

    def place(self, stacked: RunState, num_slots: int) -> States:
        """Return the states on the devices that train them, with room for `num_slots` members."""

    def run_steps(
        self, states: States, active: Mask, num_steps: int, stop: Callable[[], bool]
    ) -> Trained:
        """Train members.

        Args:
          states: their states, whose buffers are consumed.
          active: the members that train; the others stay as they are.
          num_steps: steps to take.
          stop: asked between members that go in turn; on True the rest is left as it is.
        """

    def validate(self, states: States, active: Mask) -> MemberMetrics:
        """Return the validation metrics of the active members."""

    def keep_best(self, states: States, better: Mask) -> States:
        """Return the states with the parameters of some members as their best ones."""

    def stacked(self, states: States, num_members: int) -> RunState:
        """Return the states of the first members in one, its arrays with an axis of members."""

    def state(self, states: States, index: int) -> RunState:
        """Return the state of one member, on one device."""


def stack(states: Sequence[RunState]) -> RunState:
    """Return the members' states in one, each array with a leading axis of members."""

    def stacked(*leaves: Array) -> Array | np.ndarray:
        # On the host: a program that stacks a hundred members takes seconds to compile.
        is_key = jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key)
        return jnp.stack(leaves) if is_key else np.stack(jax.device_get(leaves))

    return jax.device_put(jax.tree.map(stacked, *states))


@jax.jit
def _at(states: RunState, index: int | np.ndarray | Array) -> RunState:
    """Return one member's state, or those of several, stacked."""
    return jax.tree.map(lambda leaf: leaf[index], states)


@functools.partial(jax.jit, static_argnames="num_members")
def _first(states: RunState, num_members: int) -> RunState:
    return jax.tree.map(lambda leaf: leaf[:num_members], states)


def _over_members(
    rows: dict[int, dict[str, np.ndarray]], num_members: int
) -> dict[str, np.ndarray]:
    """Return the metrics of some members as arrays over all."""
    first = next(iter(rows.values()))
    metrics = {
        name: np.full((num_members, *value.shape), np.nan, np.float32)
        for name, value in first.items()
    }
    for index, row in rows.items():
        for name, value in row.items():
            metrics[name][index] = value
    return metrics


class InTurn:
    """Members one after the other, each through the compiled functions of a single run.

    Their numbers are bitwise those of the run alone, on the same machine.
    """

    def __init__(
        self,
        program: Program,
        train_examples: StoredExamples,
        validation_examples: _HeldOut | None,
    ) -> None:
        self._train_examples = train_examples
        self._validation_examples = validation_examples
        self._run_steps = jax.jit(program.run_steps, static_argnames="num_steps", donate_argnums=0)
        self._validate = jax.jit(program.validate)

    @property
    def validates(self) -> bool:
        return self._validation_examples is not None

    def num_slots(self, num_members: int, least: int) -> int:
        """Return the number of members: no program depends on it."""
        del least
        return num_members

    def place(self, stacked: RunState, num_slots: int) -> list[RunState]:
        """Return the members' states in a list."""
        del num_slots
        return [_at(stacked, index) for index in range(len(stacked.train.step))]

    def run_steps(
        self, states: list[RunState], active: Mask, num_steps: int, stop: Callable[[], bool]
    ) -> Trained:
        states, rows = list(states), dict[int, dict[str, np.ndarray]]()
        trained, finite = np.zeros_like(active), np.ones_like(active)
        for index in np.flatnonzero(active).tolist():
            if rows and stop():
                break
            # run_steps consumes its argument; the copy stays if the call goes wrong.
            before = copy_tree(states[index].train)
            after, metrics = self._run_steps(
                states[index].train, self._train_examples, num_steps=num_steps
            )
            rows[index] = {name: np.asarray(values) for name, values in metrics.items()}
            finite[index] = np.isfinite(rows[index]["loss"]).all() and all_finite(after.params)
            states[index] = states[index]._replace(train=after if finite[index] else before)
            trained[index] = True
        return Trained(states, trained, finite, _over_members(rows, len(states)))

    def validate(self, states: list[RunState], active: Mask) -> MemberMetrics:
        rows = {}
        for index in np.flatnonzero(active).tolist():
            metrics = self._validate(states[index].train, self._validation_examples)
            rows[index] = {name: np.asarray(value) for name, value in metrics.items()}
        return _over_members(rows, len(states))

    def keep_best(self, states: list[RunState], better: Mask) -> list[RunState]:
        return [
            state.with_best() if is_better else state
            for state, is_better in zip(states, better.tolist(), strict=True)
        ]

    def stacked(self, states: list[RunState], num_members: int) -> RunState:
        return stack(states[:num_members])

    def state(self, states: list[RunState], index: int) -> RunState:
        return states[index]


def _select(keep: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(keep, a, b), new, old)


def _advance(
    program: Program,
    state: RunState,
    active: Bool[Array, ""],
    examples: StoredExamples,
    num_steps: int,
) -> tuple[RunState, Bool[Array, ""], dict[str, Float[Array, " steps"]]]:
    """Train one member if it is active; a loss that is not finite leaves it as it was."""
    old = state.train
    new, metrics = program.run_steps(old, examples, num_steps)
    finite = jnp.isfinite(metrics["loss"]).all() & all_finite(new.params)
    moved = ("step", "params", "extra", "opt_state")
    kept = old._replace(
        **{name: _select(active & finite, getattr(new, name), getattr(old, name)) for name in moved}
    )
    return state._replace(train=kept), finite | ~active, metrics


class SideBySide:
    """Members stacked on a leading axis and spread over devices, which hold as many each.

    Their numbers are those of the run alone up to the order of sums within a matrix product.
    """

    def __init__(
        self,
        program: Program,
        train_examples: StoredExamples,
        validation_examples: _HeldOut | None,
        devices: Sequence[jax.Device],
    ) -> None:
        mesh = Mesh(np.asarray(devices), (_AXIS,))
        split, whole = PartitionSpec(_AXIS), PartitionSpec()
        self._by_member = NamedSharding(mesh, split)
        everywhere = NamedSharding(mesh, whole)
        self._device = devices[0]
        self._train_examples = jax.device_put(train_examples, everywhere)
        self._validation_examples = (
            None if validation_examples is None else jax.device_put(validation_examples, everywhere)
        )

        def on_each_device(function: Callable[..., Any], num_by_member: int) -> Callable[..., Any]:
            """Return `function` run by each device on its own members, without communication."""
            in_specs = (*[split] * num_by_member, whole)
            return jax.shard_map(
                function, mesh=mesh, in_specs=in_specs, out_specs=split, check_vma=False
            )

        def run_steps(
            states: RunState, active: Array, examples: StoredExamples, num_steps: int
        ) -> Any:
            def one(state: RunState, active: Array, examples: StoredExamples) -> Any:
                return _advance(program, state, active, examples, num_steps)

            mapped = jax.vmap(one, in_axes=(0, 0, None))
            return on_each_device(mapped, 2)(states, active, examples)

        def validate(states: RunState, examples: StoredExamples) -> Any:
            mapped = jax.vmap(program.validate, in_axes=(0, None))
            return on_each_device(mapped, 1)(states.train, examples)

        def keep_best(states: RunState, better: Array) -> RunState:
            now = states.train.params["model"], states.train.extra
            best = jax.vmap(_select)(better, now, (states.best_params, states.best_extra))
            return RunState(states.train, *best)

        self._run_steps = jax.jit(run_steps, static_argnames="num_steps", donate_argnums=0)
        self._validate = jax.jit(validate)
        self._keep_best = jax.jit(keep_best, donate_argnums=0)

    @property
    def validates(self) -> bool:
        return self._validation_examples is not None

    def num_slots(self, num_members: int, least: int) -> int:
        """Return a number of members that spreads evenly over the devices."""
        num_devices = self._by_member.mesh.size
        return -(-max(num_members, least) // num_devices) * num_devices

    def place(self, stacked: RunState, num_slots: int) -> RunState:
        """Return the states spread over the devices; slots without a member hold the last one's."""
        indices = np.minimum(np.arange(num_slots), len(stacked.train.step) - 1)
        return jax.device_put(_at(stacked, indices), self._by_member)

    def run_steps(
        self, states: RunState, active: Mask, num_steps: int, stop: Callable[[], bool]
    ) -> Trained:
        """Train all active members at once; `stop` is not asked."""
        del stop
        after, finite, metrics = self._run_steps(
            states, jnp.asarray(active), self._train_examples, num_steps=num_steps
        )
        on_host = {
            name: np.where(active[:, None], np.asarray(values), np.nan)
            for name, values in metrics.items()
        }
        return Trained(after, active, np.asarray(finite), on_host)

    def validate(self, states: RunState, active: Mask) -> MemberMetrics:
        metrics = self._validate(states, self._validation_examples)
        return {
            name: np.where(active, np.asarray(values), np.nan) for name, values in metrics.items()
        }

    def keep_best(self, states: RunState, better: Mask) -> RunState:
        return self._keep_best(states, jnp.asarray(better))

    def stacked(self, states: RunState, num_members: int) -> RunState:
        return jax.device_put(_first(states, num_members), self._device)

    def state(self, states: RunState, index: int) -> RunState:
        return jax.device_put(_at(states, index), self._device)


def prefers_side_by_side() -> bool:
    """Return whether members train faster side by side than in turn on this platform."""
    return jax.default_backend() != "cpu"
