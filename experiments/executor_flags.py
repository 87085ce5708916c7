"""Flags for where runs are trained."""

from absl import flags

from vae_jax.errors import UserError
from vae_jax.sweeps.executors import Executor, LocalExecutor, ProcessExecutor, RayExecutor

_EXECUTOR = flags.DEFINE_enum(
    "executor",
    "local",
    ["local", "processes", "ray"],
    "where runs are trained: in this process, in one process per core, or on a Ray cluster",
)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", None, "processes of --executor=processes; by default one per core"
)
_RAY_ADDRESS = flags.DEFINE_string(
    "ray_address", "", "address of a Ray cluster, or auto; empty starts one"
)


def named_executor() -> Executor:
    """Return the executor that the flags name.

    Raises:
      UserError: the flags contradict each other, or the executor cannot work here.
    """
    if _EXECUTOR.value != "ray" and _RAY_ADDRESS.value:
        raise UserError(f"--ray_address={_RAY_ADDRESS.value!r} needs --executor=ray")
    if _EXECUTOR.value != "processes" and _NUM_WORKERS.value is not None:
        raise UserError(f"--num_workers={_NUM_WORKERS.value} needs --executor=processes")
    if _EXECUTOR.value == "ray":
        return RayExecutor(_RAY_ADDRESS.value)
    if _EXECUTOR.value == "processes":
        return ProcessExecutor(_NUM_WORKERS.value)
    return LocalExecutor()
