"""This machine: its cores, its memory and processor, and the versions it runs."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from vae_jax import __version__

# By name: a file of the system's driver, and the extra of JAX that uses it.
_ACCELERATORS = (
    ("an NVIDIA GPU", "dev/nvidia0", "cuda13"),
    ("a TPU", "dev/accel0", "tpu"),
)


def num_cores() -> int:
    """Return the number of cores that this process may use, on which the last bits of sums depend.

    XLA splits sums over the cores.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory(device: jax.Device) -> int:
    """Return the bytes of a device's memory, for a CPU of the machine's; 8 GiB if unknown."""
    stats = (device.memory_stats() or {}) if device.platform != "cpu" else {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 8 * 2**30


def processor() -> str:
    """Return the name of the processor, or its architecture if the system does not say it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def describe_devices(devices: Sequence[jax.Device]) -> str:
    """Return the number and the kind of devices, as in "1 x cpu"."""
    return f"{len(devices)} x {devices[0].device_kind}"


def unused_accelerator(root: Path = Path("/")) -> str | None:
    """Return a line on an accelerator that the system has and JAX does not use; None if none.

    Someone who sets JAX_PLATFORMS, or hides NVIDIA's devices, wants it so.

    Args:
      root: of the file system.
    """
    if jax.default_backend() != "cpu" or os.environ.get("JAX_PLATFORMS"):
        return None
    for name, file, extra in _ACCELERATORS:
        hidden = name == "an NVIDIA GPU" and os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        if (root / file).exists() and not hidden:
            return (
                f"this machine has {name}, which JAX does not see: the CPU is used; "
                f"pip install 'jax[{extra}]' adds what it needs (make train JAX={extra})"
            )
    return None


def versions() -> dict[str, str]:
    """Return the versions that results depend on; "commit" only of a package under git."""
    names = ("flax", "optax")
    commit = _commit()
    return {
        "vae_jax": __version__,
        **({"commit": commit} if commit else {}),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        **{name: importlib.metadata.version(name) for name in names},
    }


@functools.cache
def _commit() -> str | None:
    """Return the commit of the package's repository, with "-dirty" if files differ from it."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
