"""Processes of this machine that train chunks, each on cores of its own.

A small network does not fill two cores: its steps are bound by memory, and by what one thread must
wait for of the other. Two runs at once, a core each, are then faster than two in turn.
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
from typing import Any, NamedTuple

import jax

from vae_jax.errors import UserError
from vae_jax.sweeps import chunks
from vae_jax.sweeps.plan import Resources, resources_here
from vae_jax.training.interruption import deferred
from vae_jax.training.loop import Interrupted

# What kills a worker as often is the chunk itself.
_MAX_DEATHS = 3
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_BETWEEN_CHUNKS = 0.2
_OF_COMPILATION_CACHE = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)

# The environment, and with it XLA's thread pool, must be new in each: fork would carry ours over.
_SPAWN = multiprocessing.get_context("spawn")


def compilation_cache() -> dict[str, Any]:
    """Return where this process keeps compiled programs, and which."""
    return {name: getattr(jax.config, name) for name in _OF_COMPILATION_CACHE}


def use_compilation_cache(settings: dict[str, Any]) -> None:
    """Keep compiled programs as the process does whose `compilation_cache` this is."""
    for name, value in settings.items():
        jax.config.update(name, value)


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


class _Worker(NamedTuple):
    process: multiprocessing.process.BaseProcess
    pipe: connection.Connection
    cores: set[int]


class ProcessExecutor:
    """Trains chunks in several processes at once, the cores of this machine dealt out to them.

    A worker that dies is replaced, and its chunk continues from its last checkpoint. Workers die
    with the process that began them.
    """

    def __init__(self, num_workers: int | None) -> None:
        here = resources_here()
        if here.side_by_side:
            raise UserError(
                "--executor=processes deals out the cores of a CPU, and JAX uses an accelerator "
                "here; use --executor=local, which trains members side by side on it"
            )
        self._shares = shares_of_cores(num_workers)
        self.resources = Resources(
            memory_limit=here.memory_limit // len(self._shares),
            num_devices=here.num_devices,
            side_by_side=False,
            num_workers=len(self._shares),
        )

    def run(
        self, folder: Path, todo: Sequence[chunks.Chunk], on_progress: Callable[[], None]
    ) -> None:
        """Train the chunks, as many at once as there are processes.

        Raises:
          Interrupted: a signal came; the workers have saved what they had.
          UserError: a chunk cannot be trained, or its workers died again and again.
        """
        waiting = collections.deque(todo)
        deaths: collections.Counter[str] = collections.Counter()
        busy: list[tuple[_Worker, chunks.Chunk]] = []
        idle = [_start(share) for share in self._shares[: len(waiting)]]
        with deferred() as interruption:
            try:
                while (waiting or busy) and not interruption:
                    while waiting and idle:
                        worker, chunk = idle.pop(), waiting.popleft()
                        worker.pipe.send((str(folder.absolute()), chunk))
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
                            worker.process.join()
                            if (worker.process.exitcode or 0) >= 0:
                                raise RuntimeError(
                                    f"the chunk {chunk['name']} failed; its worker told how, above"
                                ) from None
                            deaths[chunk["name"]] += 1
                            if deaths[chunk["name"]] == _MAX_DEATHS:
                                raise UserError(
                                    f"the chunk {chunk['name']} lost its worker {_MAX_DEATHS} "
                                    "times, for want of memory perhaps; run the same command "
                                    "again to continue, with a smaller --num_workers"
                                ) from None
                            waiting.appendleft(chunk)
                            worker = _start(worker.cores)
                        else:
                            if problem:
                                raise UserError(problem)
                        idle.append(worker)
            finally:
                _stop([*idle, *(worker for worker, _ in busy)])
            if waiting or busy:
                raise Interrupted(interruption, f"{len(waiting) + len(busy)} chunks from the end")


def _start(cores: set[int]) -> _Worker:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_work, args=(theirs, cores, compilation_cache()))
    process.start()
    # The worker alone holds its end then, so that its death closes the pipe.
    theirs.close()
    return _Worker(process, ours, cores)


def _stop(workers: Sequence[_Worker]) -> None:
    """Let workers save what they have and go."""
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join()
        worker.pipe.close()


def _work(pipe: connection.Connection, cores: set[int], cache: dict[str, Any]) -> None:
    """Train chunks in a worker until it is asked to stop."""
    # A terminal's Ctrl-C goes to the whole group: the first process passes on what it gets.
    os.setsid()
    # Before JAX counts the cores for its thread pool.
    os.sched_setaffinity(0, cores)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    use_compilation_cache(cache)
    with deferred() as interruption:
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
