"""Connect the processes of one run by `jax.distributed`, and exchange small values between them.

All processes must call these functions, and in the same order. A single process neither sends nor
waits.
"""

import os
import re
import sys
import threading
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from vae_jax.errors import UserError, first_line

_SECONDS_TO_CONNECT = 300
# A process without a heartbeat for this long counts as dead.
_SECONDS_OF_SILENCE = 30
# At the end of a run the others wait for the first, which evaluates it.
_SECONDS_OF_EVALUATION = 24 * 3600


def initialize(
    coordinator: str, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Connect the processes; afterwards JAX sees the devices of all of them.

    Args:
      coordinator: the address "host:port" at which process 0 listens; or JAX's method to detect the
        cluster, such as "auto" or "slurm".
      num_processes: number of processes, needed with an address.
      process_id: index of this process, needed with an address.

    Raises:
      UserError: JAX refuses the arguments, detects no cluster, or cannot listen at the address.
        Processes that do not come in time raise nothing: JAX's client aborts them.
    """
    # JAX would handle SIGTERM itself; here it lets the training loop save and stop.
    jax.config.update("jax_enable_preemption_service", False)
    if ":" in coordinator:
        found_by: dict[str, Any] = {
            "coordinator_address": coordinator,
            "cluster_detection_method": "deactivate",
            # The service has no password, and by default it listens on every interface.
            "coordinator_bind_address": os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", coordinator),
        }
    else:
        found_by = {"cluster_detection_method": None if coordinator == "auto" else coordinator}
    print(
        f"waiting up to {_SECONDS_TO_CONNECT} s for the other processes at "
        f"--coordinator={coordinator}",
        file=sys.stderr,
        flush=True,
    )
    try:
        jax.distributed.initialize(
            num_processes=num_processes,
            process_id=process_id,
            initialization_timeout=_SECONDS_TO_CONNECT,
            heartbeat_timeout_seconds=_SECONDS_OF_SILENCE,
            shutdown_timeout_seconds=_SECONDS_OF_EVALUATION,
            **found_by,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"JAX cannot connect the processes at --coordinator={coordinator}: "
            f"{first_line(error)}; see docs/scaling.md for what it needs"
        ) from error


def check_same(settings: Mapping[str, Any]) -> None:
    """Refuse processes that were started with different settings.

    Raises:
      UserError: in all processes, with the settings that differ and their values in this one.
    """
    names = sorted(settings)
    if any(_differ([repr(names)])):
        raise UserError("the processes were started with different configs; give all the same")
    different = _differ([repr(settings[name]) for name in names])
    if any(different):
        here = [
            f"{n}={settings[n]!r}" for n, differs in zip(names, different, strict=True) if differs
        ]
        raise UserError(
            f"the processes were started with different settings, this one with {', '.join(here)}; "
            "give all the same"
        )


def _differ(texts: Sequence[str]) -> list[bool]:
    """Return, for each text, whether it differs between the processes."""
    digests = np.array([zlib.crc32(text.encode()) for text in texts], np.uint32)
    gathered = np.asarray(multihost_utils.process_allgather(digests)).reshape(-1, len(texts))
    return [bool((gathered[:, index] != digest).any()) for index, digest in enumerate(digests)]


def lost(error: BaseException) -> UserError | None:
    """Return the user's error if a failed collective raised this one, else None.

    If a process is gone, collectives fail in the remaining ones. JAX raises several types.
    """
    if re.search("gloo|nccl|barrier", str(error), re.IGNORECASE) is None:
        return None
    return UserError(
        "another process of the run is gone or does not answer; start all again with the same "
        f"command to continue from the last checkpoint ({first_line(error)})"
    )


def leave(code: int, *, seconds: float = 0.0) -> NoReturn:
    """Exit this process after a failure, without JAX's wait for the other processes.

    Args:
      code: the exit code.
      seconds: time for the others to leave, too; they abort once the service is gone.
    """
    if seconds:
        leaving = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        leaving.start()
        leaving.join(seconds)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def is_first() -> bool:
    """Return True in the process that writes the files of the run."""
    return jax.process_index() == 0


def wait_for_all(where: str) -> None:
    """Wait until every process has called this with the same name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def from_first(number: int) -> int:
    """Return the first process's number in every process."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def any_process(*flags: bool) -> tuple[bool, ...]:
    """Return, for each flag, whether it is set in any process."""
    if jax.process_count() == 1:
        return flags
    gathered = np.asarray(multihost_utils.process_allgather(np.asarray(flags)))
    return tuple(bool(gathered[:, index].any()) for index in range(len(flags)))
