"""Settings that every test runs under."""

import functools
import importlib
import os
from pathlib import Path
from typing import Any

import jax
import jaxtyping
import pytest
from absl import flags
from hypothesis import settings

# Favours fast compilation over fast programs; must be set before JAX starts.
_FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):
    # Halves the time of a compilation. Later versions do not have the flag and would stop at it.
    _FAST_COMPILATION += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _FAST_COMPILATION)
# Several test processes share the cores, and idle OpenMP threads would spin on them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# UMAP's loops take half a minute to compile, and a moment to interpret for a few dozen points.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
# Simulated devices, in the tests' own processes and not in those of the commands.
jax.config.update("jax_num_cpu_devices", 8)
# Compiled programs are cached for the next test run, even those that compile fast. The environment
# variables are for the commands: in this process JAX has read them already.
_CACHE = os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.join(os.path.dirname(__file__), "..", ".cache", "jax")
)
jax.config.update("jax_compilation_cache_dir", _CACHE)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


# On a busy machine a single example may take any time.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

# Folders whose tests run whole commands. Checks of annotations double the time of tracing, and the
# tests of the other folders make them.
_UNCHECKED = {"benchmarks", "docs", "experiments", "papers", "sweeps"}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check annotations and draw the plots of runs only in tests that prove them."""
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    jaxtyping.config.update("jaxtyping_disable", folder in _UNCHECKED)
    drawing, functions = _drawing()
    for name, function in functions.items():
        setattr(drawing, name, function if item.get_closest_marker("plots") else _draw_nothing)


@functools.cache
def _drawing() -> Any:
    """Return the module that draws runs, and its functions before a test replaces them."""
    # Imported now: what is imported with this file has no checks of its annotations.
    drawing = importlib.import_module("vae_jax.evaluation.drawing")
    return drawing, {name: getattr(drawing, name) for name in ("draw_run", "draw_joint_run")}


def _draw_nothing(*args: Any, **options: Any) -> None:
    """Leave out the plots of a run, which take as long as a small training."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first: at the end they would leave the other processes idle."""
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow_files)


@pytest.fixture(scope="module")
def parsed_flags():
    """Parse the commands' flags with their defaults, for functions that read them."""
    flags.FLAGS(["test"])
    yield
    flags.FLAGS.unparse_flags()
