"""Flags for the processes and the devices that train one run (docs/scaling.md).

python -m experiments.train ... --coordinator=node0:1234 --num_processes=2 --process_id=0
srun python -m experiments.train ... --coordinator=slurm
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

import jax
from absl import flags, logging

from experiments import command_line
from vae_jax.errors import UserError
from vae_jax.training import host, parallel, processes
from vae_jax.training.loop import Interrupted

_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "host:port of process 0, or how JAX detects a cluster: auto, slurm, ..."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "processes that train the run")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "index of this process, from 0 on")
_PARALLEL = flags.DEFINE_enum(
    "parallel", "jit", ["jit", "pmap"], "how several devices are used together"
)
_NUM_DEVICES = flags.DEFINE_integer("num_devices", None, "devices to use; by default all")


@contextlib.contextmanager
def together(settings: Mapping[str, Any]) -> Iterator[None]:
    """Connect the processes that the flags name and check that all have the same settings.

    Without --coordinator this does nothing. With it, an exception ends the process here.
    """
    if not _COORDINATOR.value:
        for flag in (_NUM_PROCESSES, _PROCESS_ID):
            if flag.value is not None:
                raise UserError(f"--{flag.name}={flag.value} needs --coordinator")
        yield
        return
    processes.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    try:
        processes.check_same({**settings, "--parallel": _PARALLEL.value, "jax": jax.__version__})
        yield
    except (UserError, Interrupted) as error:
        # Usually all processes raise it.
        processes.leave(command_line.report(error), seconds=10.0)
    except (Exception, KeyboardInterrupt) as error:
        processes.leave(command_line.report(processes.lost(error) or error))
    jax.distributed.shutdown()


def devices_and_kind() -> tuple[list[jax.Device], parallel.Kind]:
    """Return the devices of all processes to train on, and how they are used together.

    The first process prints a line about them, and a warning if an accelerator stays unused.
    """
    kind = cast(parallel.Kind, _PARALLEL.value)
    devices = parallel.choose_devices(_NUM_DEVICES.value, kind)
    if jax.process_index() == 0:
        print(f"devices: {host.describe_devices(devices)}", flush=True)
        if (unused := host.unused_accelerator()) is not None:
            logging.warning("%s", unused)
    return devices, kind
