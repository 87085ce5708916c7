"""Settings that every test runs under."""

import contextlib
import functools
import gc
import importlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jaxtyping
import pytest
from absl import flags
from hypothesis import settings

# Favours fast compilation over fast programs; must be set before JAX starts.
_FAST_COMPILATION = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1 "
    # Simulated devices wait for each other, longer than a busy machine keeps one of them waiting.
    "--xla_cpu_collective_call_terminate_timeout_seconds=600"
)
if jax.__version_info__ < (0, 11):
    # Halves the time of a compilation. Later versions do not have the flag and would stop at it.
    _FAST_COMPILATION += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _FAST_COMPILATION)
# Several test processes share the cores, and idle OpenMP threads would spin on them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# UMAP's loops take half a minute to compile, and a moment to interpret for a few dozen points.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
# Checkpoints wait until they are on the disk; in memory they are there at once.
_MEMORY = "/dev/shm"
_MEMORY_NEEDED = 4 * 2**30
if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _MEMORY_NEEDED:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _MEMORY)
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


# The same examples in every run: a rare one that fails is found by a search, and not by chance.
# On a busy machine a single example may take any time.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("steady")

# Folders whose tests run whole commands, and files that compile whole trainings. Checks of
# annotations double the time of tracing, and the other tests make them.
_UNCHECKED = {"benchmarks", "docs", "experiments", "papers", "sweeps"} | {
    "objectives/test_objectives_of_rows.py",
    "test_old_runs.py",
    "training/test_parallel.py",
    "training/test_platforms.py",
}


# What a test costs, for the report that benchmarks/suite_times.py reads: programs that its process
# compiles or takes from the cache, the seconds of that, and processes that it starts.
_COSTS: Counter[str] = Counter()


def _count_program(event: str, duration: float, **facts: str | int) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _COSTS.update(programs=1, compile_seconds=duration)


def _count_process(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        _COSTS.update(processes=1)


jax.monitoring.register_event_duration_secs_listener(_count_program)
sys.addaudithook(_count_process)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Report what a test cost, with the fixtures that were made for it."""
    result = yield
    item.user_properties += [(name, round(cost, 3)) for name, cost in _COSTS.items()]
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check annotations and draw the plots of runs only in tests that prove them."""
    _COSTS.clear()
    path = item.path.relative_to(Path(__file__).parent)
    unchecked = not _UNCHECKED.isdisjoint((path.parts[0], path.as_posix()))
    jaxtyping.config.update("jaxtyping_disable", unchecked)
    draws = item.get_closest_marker("plots")
    for (module, name), function in _drawing().items():
        setattr(module, name, function if draws else _draw_nothing)


@functools.cache
def _drawing() -> dict[tuple[ModuleType, str], Callable[..., None]]:
    """Return what draws runs and sweeps before a test replaces it, by module and name."""
    # Imported now: what is imported with this file has no checks of its annotations.
    drawing = importlib.import_module("vae_jax.evaluation.drawing")
    results = importlib.import_module("vae_jax.sweeps.results")
    places = (drawing, "draw_run"), (drawing, "draw_joint_run"), (results, "draw")
    return {(module, name): getattr(module, name) for module, name in places}


def _draw_nothing(*args: Any, **options: Any) -> None:
    """Leave out the plots of a run or sweep, which take as long as a small training."""


# What is imported stays, so that a collection during it finds nothing.
gc.disable()


def pytest_collection_finish() -> None:
    """Keep the garbage collector from what was imported: a million objects that stay."""
    gc.freeze()
    # Tracing makes many objects that live, and each collection also visits XLA.
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first: at the end they would leave the other processes idle."""
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow_files)


def _leave_unrendered(patch: pytest.MonkeyPatch) -> None:
    style = importlib.import_module("vae_jax.plots.style")
    patch.setattr(style, "_rendered", lambda figure, name: b"")


@pytest.fixture
def unrendered(monkeypatch):
    """Let plots be drawn into empty files: to render them takes longer than all else of a plot."""
    _leave_unrendered(monkeypatch)


@pytest.fixture(scope="session")
def drawing_plots():
    """Return a context in which a fixture draws the plots of what it trains.

    Those that are not rendered are empty files, as with `unrendered`.
    """

    @contextlib.contextmanager
    def drawing(*, rendered=True):
        # The first test that uses the fixture may do without.
        with pytest.MonkeyPatch.context() as patch:
            for (module, name), function in _drawing().items():
                patch.setattr(module, name, function)
            if not rendered:
                _leave_unrendered(patch)
            yield

    return drawing


@pytest.fixture(scope="module")
def parsed_flags():
    """Parse the commands' flags with their defaults, for functions that read them."""
    flags.FLAGS(["test"])
    yield
    flags.FLAGS.unparse_flags()
