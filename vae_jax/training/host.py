"""The cores of this machine that a process may use, and a cache of compiled programs."""

import os
from pathlib import Path

import jax


def num_cores() -> int:
    """Return the number of cores that this process may use, on which the last bits of sums depend.

    XLA splits sums over the cores.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_compilation_cache() -> None:
    """Keep compiled programs in ~/.cache/vae_jax, or in $JAX_COMPILATION_CACHE_DIR."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "vae_jax"))
    # Quick compilations, too: a run has a hundred of them, together two seconds.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
