"""What the processes of one run do together. With a single process nothing is sent, nothing waits.

All of them must call these functions, and in the same order.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils


def is_first() -> bool:
    """Whether this process is the one that writes what is written once."""
    return jax.process_index() == 0


def wait_for_all(place: str) -> None:
    """Return when every process has come to this place."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def from_first(number: int) -> int:
    """What the first process says, in all of them."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def any_says(*flags: bool) -> tuple[bool, ...]:
    """Of each flag, whether any process has it set."""
    if jax.process_count() == 1:
        return flags
    said = np.asarray(multihost_utils.process_allgather(np.asarray(flags)))
    return tuple(bool(said[:, index].any()) for index in range(len(flags)))
