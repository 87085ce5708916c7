"""Train the chunks of a sweep: in this process, in several of this machine, or on a Ray cluster.

A worker that dies is replaced, and its chunk continues from its last checkpoint. On a cluster all
machines must see the workdir under the same path.
"""

import collections
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import connection
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from vae_jax.errors import UserError, first_line
from vae_jax.sweeps import chunks
from vae_jax.sweeps.plan import Resources, resources_here
from vae_jax.training.interruption import deferred
from vae_jax.training.loop import Interrupted

ROOT = Path(__file__).parents[2]

# If workers die more often than this, the chunk itself kills them.
_MAX_DEATHS = 3
_MAX_RETRIES = 20
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_BETWEEN_CHUNKS = 0.2
_OF_COMPILATION_CACHE = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)

# Each worker needs an environment and a thread pool of XLA of its own; fork would copy ours.
_SPAWN = multiprocessing.get_context("spawn")


@runtime_checkable
class Executor(Protocol):
    """Trains chunks."""

    resources: Resources

    def run(
        self, folder: Path, todo: Sequence[chunks.Chunk], on_progress: Callable[[], None]
    ) -> None:
        """Train the chunks, calling `on_progress` when members may have ended.

        Raises:
          Interrupted: a signal came; the same command continues.
          UserError: a chunk cannot be trained, or its workers died again and again.
        """


class LocalExecutor:
    """Trains chunks one after the other in this process, members spread over its devices."""

    def __init__(self) -> None:
        self.resources = resources_here()

    def run(
        self, folder: Path, todo: Sequence[chunks.Chunk], on_progress: Callable[[], None]
    ) -> None:
        with deferred() as interruption:
            for chunk in todo:
                chunks.train_chunk(folder, chunk, interruption, lambda member: on_progress())


class _Worker(NamedTuple):
    process: multiprocessing.process.BaseProcess
    pipe: connection.Connection
    cores: set[int]


class ProcessExecutor:
    """Trains chunks in several processes at once, the cores of this machine dealt out to them.

    A small network does not fill two cores: its steps are bound by memory, and by what one thread
    must wait for of the other. Two runs at once, a core each, are then faster than two in turn.
    Workers die with the process that began them.
    """

    def __init__(self, num_workers: int | None) -> None:
        here = resources_here()
        if here.side_by_side:
            raise UserError(
                "--executor=processes deals out the cores of a CPU, and JAX uses an accelerator "
                "here; use --executor=local, which trains members side by side on it"
            )
        self._shares = shares_of_cores(num_workers)
        self.resources = here._replace(
            memory_limit=here.memory_limit // len(self._shares), num_workers=len(self._shares)
        )

    def run(
        self, folder: Path, todo: Sequence[chunks.Chunk], on_progress: Callable[[], None]
    ) -> None:
        waiting = collections.deque(todo)
        deaths: collections.Counter[str] = collections.Counter()
        busy: list[tuple[_Worker, chunks.Chunk]] = []
        idle = [_start(share) for share in self._shares[: len(waiting)]]

        def replace(worker: _Worker, chunk: chunks.Chunk) -> None:
            """Put back the chunk of a worker that has ended, and start another worker."""
            waiting.appendleft(chunk)
            worker.process.join()
            worker.pipe.close()
            # A service or a batch system signals all processes: the worker was asked to stop, too.
            if not interruption:
                _count_death(worker, chunk["name"], deaths)
                idle.append(_start(worker.cores))

        with deferred() as interruption:
            try:
                while (waiting or busy) and not interruption:
                    while waiting and idle:
                        worker, chunk = idle.pop(), waiting.popleft()
                        try:
                            worker.pipe.send((str(folder.absolute()), chunk))
                        except ConnectionError:
                            replace(worker, chunk)
                        else:
                            busy.append((worker, chunk))
                    ready = connection.wait(
                        [worker.pipe for worker, _ in busy], _SECONDS_BETWEEN_LOOKS
                    )
                    on_progress()
                    for worker, chunk in [entry for entry in busy if entry[0].pipe in ready]:
                        busy.remove((worker, chunk))
                        try:
                            problem = worker.pipe.recv()
                        except (EOFError, ConnectionError):
                            replace(worker, chunk)
                            continue
                        idle.append(worker)
                        if problem:
                            raise UserError(problem)
            finally:
                _stop([*idle, *(worker for worker, _ in busy)])
            if waiting or busy:
                raise Interrupted(interruption, f"{len(waiting) + len(busy)} chunks from the end")


def shares_of_cores(num_workers: int | None) -> list[set[int]]:
    """Return the cores that this process may use, dealt out to processes.

    Args:
      num_workers: the number of processes; None for one per core.

    Raises:
      UserError: there are fewer cores, or the system does not let processes choose theirs.
    """
    if not hasattr(os, "sched_getaffinity"):
        raise UserError(f"--executor=processes needs Linux, not {sys.platform}; use local or ray")
    cores = sorted(os.sched_getaffinity(0))
    num_workers = len(cores) if num_workers is None else num_workers
    if not 1 <= num_workers <= len(cores):
        raise UserError(
            f"--num_workers={num_workers} must be at least 1 and at most {len(cores)}, the number "
            "of cores"
        )
    return [set(cores[index::num_workers]) for index in range(num_workers)]


def _start(cores: set[int]) -> _Worker:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_work, args=(theirs, cores, _compilation_cache()))
    process.start()
    # The worker alone holds its end then, so that its death closes the pipe.
    theirs.close()
    return _Worker(process, ours, cores)


def _stop(workers: Sequence[_Worker]) -> None:
    """Let workers save their state and end."""
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join()
        worker.pipe.close()


def _count_death(worker: _Worker, chunk: str, deaths: collections.Counter[str]) -> None:
    """Count the death of a worker that has ended, unless it was asked to stop.

    Raises:
      RuntimeError: it died of an error in the code.
      UserError: the chunk has lost as many workers as it may.
    """
    code = worker.process.exitcode or 0
    if code > 0:
        raise RuntimeError(f"the chunk {chunk} failed; its worker printed why, above")
    if code == 0:
        return
    deaths[chunk] += 1
    if deaths[chunk] == _MAX_DEATHS:
        raise UserError(
            f"the chunk {chunk} lost its worker {_MAX_DEATHS} times, for want of memory perhaps; "
            "run the same command again to continue, with a smaller --num_workers"
        )


def _work(pipe: connection.Connection, cores: set[int], cache: dict[str, Any]) -> None:
    """Train chunks in a worker until it is asked to stop."""
    # A terminal's Ctrl-C goes to the whole group: the first process passes on what it gets.
    os.setsid()
    # Before JAX counts the cores for its thread pool.
    os.sched_setaffinity(0, cores)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _use_compilation_cache(cache)
    with deferred() as interruption:

        def record(number: int, _: FrameType | None) -> None:
            interruption.signal = signal.Signals(number)

        # Where all processes are signalled, the first one's SIGTERM is the second here: it must not
        # cut off what is being saved.
        signal.signal(signal.SIGTERM, record)
        while not interruption:
            if not pipe.poll(_SECONDS_BETWEEN_CHUNKS):
                continue
            folder, chunk = pipe.recv()
            try:
                chunks.train_chunk(Path(folder), chunk, interruption)
            except Interrupted:
                return
            except UserError as error:
                pipe.send(str(error))
            else:
                pipe.send("")


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    # At once: the same command may already be running again.
    os.kill(os.getpid(), signal.SIGKILL)


class RayExecutor:
    """Trains each chunk as a task of a Ray cluster, which is started here if there is none."""

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise UserError(
                "--executor=ray needs Ray, which is not installed; pip install 'ray>=2.50,<3', or "
                "use --executor=local"
            ) from None
        self._ray = ray
        try:
            ray.init(
                address=address or None,
                # The modules of this checkout, wherever the command was started.
                runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
                include_dashboard=False,
                log_to_driver=True,
            )
        # What fails at the start of a cluster is often a bare Exception.
        except Exception as error:
            reason = first_line(error)
            if address:
                raise UserError(
                    f"--ray_address={address!r} cannot be reached: {reason}; give the address of a "
                    "cluster that runs, or none to start one here"
                ) from None
            raise UserError(
                f"Ray cannot be started: {reason}; try again, or use --executor=local"
            ) from None
        resources = ray.cluster_resources()
        self._gpus = 1 if resources.get("GPU", 0) >= 1 else 0
        num_workers = max(1, int(resources["GPU" if self._gpus else "CPU"]))
        # The machine that the command runs on may be unlike those that train.
        seen = ray.get(self._task(resources_here).remote())
        self.resources = seen._replace(num_workers=num_workers)

    def _task(self, function: Callable[..., Any]) -> Any:
        return self._ray.remote(function).options(
            num_cpus=0 if self._gpus else 1, num_gpus=self._gpus, max_retries=_MAX_RETRIES
        )

    def run(
        self, folder: Path, todo: Sequence[chunks.Chunk], on_progress: Callable[[], None]
    ) -> None:
        ray, task, cache = self._ray, self._task(_train_in_worker), _compilation_cache()

        def begin(chunk: chunks.Chunk) -> Any:
            return task.remote(str(folder.absolute()), chunk, cache)

        waiting = {begin(chunk): chunk for chunk in todo}
        with deferred() as interruption:
            while waiting:
                done, _ = ray.wait(list(waiting), num_returns=1, timeout=_SECONDS_BETWEEN_LOOKS)
                on_progress()
                for reference in done:
                    chunk = waiting.pop(reference)
                    # A worker that was asked to stop has saved its state; another one goes on.
                    if not self._is_trained(reference):
                        waiting[begin(chunk)] = chunk
                if interruption:
                    for reference in waiting:
                        ray.cancel(reference)
                    if waiting:
                        ray.wait(list(waiting), num_returns=len(waiting), timeout=30)
                    raise Interrupted(interruption, f"{len(waiting)} chunks from the end")

    def _is_trained(self, reference: Any) -> bool:
        try:
            return bool(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except self._ray.exceptions.WorkerCrashedError:
            raise UserError(
                f"a chunk's worker died {_MAX_RETRIES + 1} times; look into Ray's logs, and run "
                "the same command again to continue"
            ) from None


def _train_in_worker(folder: str, chunk: chunks.Chunk, cache: dict[str, Any]) -> bool:
    """Train a chunk in a Ray worker; return False if it was asked to stop before the end."""
    _use_compilation_cache(cache)
    try:
        with deferred() as interruption:
            chunks.train_chunk(Path(folder), chunk, interruption)
    except Interrupted:
        return False
    return True


def _compilation_cache() -> dict[str, Any]:
    """Return where this process keeps compiled programs, and which."""
    return {name: getattr(jax.config, name) for name in _OF_COMPILATION_CACHE}


def _use_compilation_cache(settings: dict[str, Any]) -> None:
    """Keep compiled programs as the process does whose `_compilation_cache` this is."""
    for name, value in settings.items():
        jax.config.update(name, value)
