"""One program over several devices: `jax.jit` over a mesh, or `jax.pmap`.

Under jit the state is replicated, the examples of a batch are distributed, and the compiler inserts
the sums over devices. The program is that of one device, noise included, and its results are the
same up to the order of sums. Under pmap every device runs the program on its share of the batch,
with its own noise, and `train_step` averages the gradients.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from vae_jax.data.pixels import StoredExamples
from vae_jax.errors import UserError
from vae_jax.training.loop import Program, RunState
from vae_jax.training.step import Metrics, StoredBatches, TrainState, whole_batch

Kind = Literal["jit", "pmap"]

_AXIS = "data"

StepMetrics = dict[str, Float[Array, " steps"]]
# build_program(split_batch=..., axis_name=...)
BuildProgram = Callable[..., Program]


class Compiled(NamedTuple):
    """A program on its devices.

    Attributes:
      init: as `Program.init`; returns the state on the devices of the other functions.
      run_steps: as `Program.run_steps`; consumes the state.
      validate: as `Program.validate`.
      run_batches: as `Program.run_batches`; consumes the state.
      put: puts a tree of arrays, the same in every process, on the devices.
      put_batches: puts this process's rows of some batches, `[num_steps, rows, ...]`, there.
    """

    init: Callable[..., RunState]
    run_steps: Callable[[TrainState, StoredExamples, int], tuple[TrainState, StepMetrics]]
    run_batches: Callable[[TrainState, StoredBatches], tuple[TrainState, StepMetrics]]
    validate: Callable[[TrainState, StoredExamples], Metrics]
    put: Callable[[PyTree], PyTree]
    put_batches: Callable[[np.ndarray], Array]


def choose_devices(number: int | None = None, kind: Kind = "jit") -> list[jax.Device]:
    """Return the devices to train on: those of all processes, or the first ones of this process.

    Args:
      number: number of devices; None takes all.
      kind: "jit" or "pmap".

    Raises:
      UserError: there are fewer, some process would have none, or the kind needs one process.
    """
    found, several = jax.devices(), jax.process_count() > 1
    if kind == "pmap" and several:
        raise UserError("--parallel=pmap works in one process only; use --parallel=jit")
    if number is None:
        return found
    if not 1 <= number <= len(found):
        raise UserError(
            f"--num_devices={number} must be at least 1 and at most {len(found)}, the devices "
            "that JAX sees"
        )
    if several and number < len(found):
        raise UserError(
            f"--num_devices={number} leaves processes without a device; use all {len(found)} "
            "with --num_processes"
        )
    return found[:number]


def check_batch_size(batch_size: int, accumulation_steps: int, num_devices: int) -> None:
    """Refuse batches that do not divide over the devices.

    Raises:
      UserError: names the nearest batch sizes that do.
    """
    unit = accumulation_steps * num_devices
    if batch_size % unit:
        below = batch_size // unit * unit
        nearest = [str(size) for size in (below, below + unit) if size]
        parts = f" in {accumulation_steps} parts each" if accumulation_steps > 1 else ""
        raise UserError(
            f"batch_size={batch_size} does not divide over {num_devices} devices{parts}; use "
            f"{' or '.join(nearest)}, or another --num_devices"
        )


def compile_program(
    build_program: BuildProgram, devices: Sequence[jax.Device], kind: Kind = "jit"
) -> Compiled:
    """Return the functions of a run for some devices, which may belong to several processes.

    Args:
      build_program: builds the program for one way to split batches.
      devices: their number must divide the batch size.
      kind: "jit" or "pmap"; ignored for one device.
    """
    if len(devices) == 1:
        return _on_one(build_program(split_batch=whole_batch, axis_name=None), devices[0])
    # Auto: the compiler chooses the shardings that are not given.
    mesh = Mesh(np.asarray(devices), (_AXIS,), axis_types=(AxisType.Auto,))
    return (_over_mesh if kind == "jit" else _under_pmap)(build_program, mesh)


def _on_one(program: Program, device: jax.Device) -> Compiled:
    put = functools.partial(jax.device_put, device=device)
    return Compiled(
        init=jax.jit(program.init),
        run_steps=jax.jit(program.run_steps, static_argnums=2, donate_argnums=0),
        run_batches=jax.jit(program.run_batches, donate_argnums=0),
        validate=jax.jit(program.validate),
        put=put,
        put_batches=put,
    )


def _over_mesh(build_program: BuildProgram, mesh: Mesh) -> Compiled:
    examples, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ([_AXIS], []))
    batches = NamedSharding(mesh, PartitionSpec(None, _AXIS))

    def split_batch(batch: Array) -> Array:
        divides = batch.shape[0] % mesh.size == 0
        return jax.lax.with_sharding_constraint(batch, examples) if divides else batch

    program = build_program(split_batch=split_batch, axis_name=None)
    jit = functools.partial(jax.jit, out_shardings=everywhere)
    return Compiled(
        init=jit(program.init),
        run_steps=jit(program.run_steps, static_argnums=2, donate_argnums=0),
        run_batches=jit(program.run_batches, donate_argnums=0),
        validate=jit(program.validate),
        put=functools.partial(_replicate, sharding=everywhere),
        put_batches=functools.partial(jax.make_array_from_process_local_data, batches),
    )


def _under_pmap(build_program: BuildProgram, mesh: Mesh) -> Compiled:
    def split_batch(batch: Array) -> Array:
        size = batch.shape[0] // mesh.size
        return jax.lax.dynamic_slice_in_dim(batch, jax.lax.axis_index(_AXIS) * size, size)

    def run_steps(
        index: Array, state: TrainState, examples: StoredExamples, num_steps: int
    ) -> tuple[TrainState, StepMetrics]:
        # pmap needs one argument that differs between devices.
        del index
        return program.run_steps(state, examples, num_steps)

    def put_batches(batches: np.ndarray) -> Array:
        parts = batches.reshape(len(batches), mesh.size, -1, *batches.shape[2:])
        return jax.device_put(parts, NamedSharding(mesh, PartitionSpec(None, _AXIS)))

    program = build_program(split_batch=split_batch, axis_name=_AXIS)
    pmap = functools.partial(
        jax.pmap, axis_name=_AXIS, out_axes=None, devices=list(mesh.devices.flat)
    )
    mapped: Any = pmap(
        run_steps,
        in_axes=(0, None, None, None),
        static_broadcasted_argnums=3,
        donate_argnums=1,
    )
    # Initialisation and validation have no gradients to average.
    others = _over_mesh(build_program, mesh)
    return others._replace(
        run_steps=functools.partial(mapped, jnp.arange(mesh.size)),
        run_batches=pmap(program.run_batches, in_axes=(None, 1), donate_argnums=0),
        put_batches=put_batches,
    )


def _replicate(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Return a tree that every process has as global arrays; keys are sent as their bits."""

    def put(leaf: Any) -> Array:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)
