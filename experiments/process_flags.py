"""Flags of a run of several processes, and what happens around such a run.

The same command is started once a process, with --process_id from 0 on:

    python -m experiments.train ... --coordinator=node0:1234 --num_processes=2 --process_id=0

Under Slurm, `srun python -m experiments.train ... --coordinator=slurm` is enough. Without flags the
variables JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID are read.
"""

import contextlib
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import flags, logging

from experiments import command_line
from vae_jax.errors import UserError
from vae_jax.training import rendezvous
from vae_jax.training.loop import Interrupted
from vae_jax.training.relay import relay

# What a process exits with whose run was ended by another one.
EXIT_LOST = 3

_SLURM_PORT = 12346

# What a lost process does to the others' collectives is known here before its number is.
_SECONDS_TO_LEARN_WHO = 45.0
_SECONDS_OF_EVALUATION = 24 * 3600

_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "host:port of process 0 where several train one run; slurm under Slurm"
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "processes that train the run")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "which of them this one is, from 0 on")
_PROCESS_TIMEOUT = flags.DEFINE_float(
    "process_timeout", 300.0, "seconds to wait for the other processes"
)


def _number(flag: flags.FlagHolder[int | None], *variables: str) -> int:
    if flag.value is not None:
        return flag.value
    for variable in variables:
        text = os.environ.get(variable)
        if text is not None:
            if not text.isdecimal():
                raise UserError(f"{variable}={text!r} must be a number")
            return int(text)
    raise UserError(f"--{flag.name} is missing, which --coordinator needs")


def first_host(hosts: str) -> str:
    """The first host of a list as Slurm writes it, such as "node[03-05,9],other"."""
    match = re.match(r"(?P<prefix>[^,\[]+)(\[(?P<number>\d+)[^\]]*\](?P<suffix>[^,\[]*))?", hosts)
    if match is None:
        raise UserError(f"SLURM_STEP_NODELIST={hosts!r} names no host")
    return match["prefix"] + (match["number"] or "") + (match["suffix"] or "")


def _place() -> tuple[str, int, int] | None:
    """Coordinator, number of processes and our own; None for a run of one process."""
    address = _COORDINATOR.value or os.environ.get("JAX_COORDINATOR_ADDRESS", "")
    if not address:
        for flag in (_NUM_PROCESSES, _PROCESS_ID):
            if flag.value is not None:
                raise UserError(f"--{flag.name}={flag.value} needs --coordinator")
        return None
    if address == "slurm":
        if "SLURM_STEP_NODELIST" not in os.environ:
            raise UserError("--coordinator=slurm needs a job step of Slurm: start it with srun")
        address = f"{first_host(os.environ['SLURM_STEP_NODELIST'])}:{_SLURM_PORT}"
    return (
        address,
        _number(_NUM_PROCESSES, "JAX_NUM_PROCESSES", "SLURM_NTASKS"),
        _number(_PROCESS_ID, "JAX_PROCESS_ID", "SLURM_PROCID"),
    )


@contextlib.contextmanager
def together(told: Mapping[str, Any], folder: Path) -> Iterator[None]:
    """Within, JAX sees the devices of all processes; without --coordinator, nothing is done.

    Args:
      told: what all processes must have been told alike.
      folder: takes the output of native code, process_N.log.

    Raises:
      UserError: a process did not come, or was told something else.
    """
    place = _place()
    if place is None:
        yield
        return
    address, num_processes, rank = place
    company = rendezvous.meet(
        address,
        rank,
        num_processes,
        {**told, "jax": jax.__version__},
        timeout_seconds=_PROCESS_TIMEOUT.value,
        on_loss=_end_for,
    )
    try:
        _divert_native_output(folder / f"process_{rank}.log")
        # It would take SIGTERM for itself, which asks us to save and stop.
        jax.config.update("jax_enable_preemption_service", False)
        service = company.service_address
        jax.distributed.initialize(
            service if rank == 0 else relay(service),
            num_processes,
            rank,
            # The others wait here for the first, which evaluates the run.
            shutdown_timeout_seconds=_SECONDS_OF_EVALUATION,
        )
        yield
    except UserError as error:
        company.leave(str(error))
        _end(str(error), command_line.EXIT_USER_ERROR)
    except Interrupted:
        # All were told, and stop together.
        raise
    except jax.errors.JaxRuntimeError as error:
        # A sum over devices that did not arrive, most likely: who is to blame is known soon.
        time.sleep(_SECONDS_TO_LEARN_WHO)
        reason = str(error).splitlines()[0]
        company.leave(reason)
        _end(reason, EXIT_LOST)
    except KeyboardInterrupt:
        company.leave("it was interrupted twice")
        _end("interrupted; the same command continues from the last checkpoint", 130)
    except Exception as error:
        company.leave(f"it failed with {type(error).__name__}")
        traceback.print_exc()
        _end("this is a defect of the program", 1)
    finally:
        company.leave()
        jax.distributed.shutdown()


def _end_for(told: str) -> None:
    _end(
        f"{told}; so this one ends. Start all processes again with the same command to continue "
        "from the last checkpoint",
        EXIT_LOST,
    )


def _end(told: str, code: int) -> NoReturn:
    """End this process at once: JAX would wait for others, which may be gone."""
    print(f"error: {told}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)


def _divert_native_output(path: Path) -> None:
    """Let Python print where it did, and send what JAX's native code prints to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        getattr(sys, name).flush()
        setattr(sys, name, os.fdopen(os.dup(descriptor), "w", buffering=1))
    with open(path, "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    logging.get_absl_handler().python_handler.setStream(sys.stderr)
