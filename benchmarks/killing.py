"""Start a command and kill it at a given moment. A part of the benchmarks that kill."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags
from jaxtyping import PyTree

KILLS = flags.DEFINE_integer("kills", 10, "SIGKILLs that must hit a running process")


def run_until_killed(command: Sequence[str], cache: Path, kill_after: float | None = None) -> bool:
    """Run a command until done, or until the kill; whether it was killed.

    Args:
      command: what to run.
      cache: of compiled programs, for this command alone.
      kill_after: seconds; None lets it end.

    Raises:
      RuntimeError: the process ended otherwise, which no kill may lead to.
    """
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            process.wait(timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
        code = process.wait()
        if code not in (0, -signal.SIGKILL):
            output.seek(0)
            text = output.read().decode(errors="replace")
            raise RuntimeError(f"the command ended with code {code}:\n{text}")
    return code != 0


def bits(tree: PyTree) -> list[bytes]:
    """Return the bytes of every array of a tree, PRNG keys as their words."""
    return [
        np.asarray(
            jax.random.key_data(leaf)
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else leaf
        ).tobytes()
        for leaf in jax.tree.leaves(tree)
    ]
