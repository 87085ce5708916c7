"""Executors whose workers, or whose Ray, are replaced: how they end, and what is done about it."""

import multiprocessing
import os
import signal
import sys
import types
from pathlib import Path

import pytest

from vae_jax.errors import UserError
from vae_jax.sweeps import chunks, executors
from vae_jax.training.loop import Interrupted

NAMES = ["0000-00", "0000-01"]
CHUNKS = [{"name": name} for name in NAMES]


class Process:
    """A process that has ended, or ends when it is asked to."""

    def __init__(self, exitcode):
        self.exitcode = exitcode

    def terminate(self):
        pass

    def join(self):
        pass


class Pipe:
    """The first process's end of a pipe to a worker that answers as soon as it has a chunk.

    What the worker does is its exit code, or "trains".
    """

    def __init__(self, does, trained):
        self._ours, self._theirs = multiprocessing.Pipe()
        self._does, self._trained = does, trained
        self.fileno, self.recv = self._ours.fileno, self._ours.recv

    def send(self, order):
        if isinstance(self._does, int):
            self._theirs.close()
            return
        self._trained.append(order[1]["name"])
        self._theirs.send("")

    def close(self):
        self._ours.close()
        self._theirs.close()


class Machine:
    """A machine with one worker at a time, each of which does as it is told."""

    def __init__(self, monkeypatch, *workers):
        self.left, self.trained = list(workers), []
        monkeypatch.setattr(executors, "_start", self._start)
        monkeypatch.setattr(executors, "shares_of_cores", lambda num_workers: [{0}])

    def _start(self, cores):
        worker = self.left.pop(0)
        if isinstance(worker, executors._Worker):
            return worker
        exitcode = worker if isinstance(worker, int) else 0
        return executors._Worker(Process(exitcode), Pipe(worker, self.trained), cores)

    def run(self):
        executors.ProcessExecutor(1).run(Path("sweep"), CHUNKS, lambda: None)


def dead_while_idle(exitcode):
    """A worker that ended before it was given a chunk."""
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    return executors._Worker(Process(exitcode), ours, {0})


def test_a_killed_worker_is_replaced_and_its_chunk_is_trained_by_the_next(monkeypatch):
    machine = Machine(monkeypatch, -signal.SIGKILL, -signal.SIGKILL, "trains")
    machine.run()
    assert machine.trained == NAMES


@pytest.mark.parametrize("exitcode", [-signal.SIGKILL, 0])
def test_a_worker_that_ended_while_idle_is_replaced(monkeypatch, exitcode):
    machine = Machine(monkeypatch, dead_while_idle(exitcode), "trains")
    machine.run()
    assert machine.trained == NAMES


def test_a_worker_that_was_asked_to_stop_is_replaced_however_often(monkeypatch):
    machine = Machine(monkeypatch, *[0] * (executors._MAX_DEATHS + 1), "trains")
    machine.run()
    assert machine.trained == NAMES


@pytest.mark.parametrize("worker", [lambda: -signal.SIGKILL, lambda: dead_while_idle(-9)])
def test_a_chunk_that_loses_worker_after_worker_is_reported(monkeypatch, worker):
    machine = Machine(monkeypatch, *(worker() for _ in range(executors._MAX_DEATHS)), "trains")
    with pytest.raises(UserError, match="the chunk 0000-00 lost its worker 3 times"):
        machine.run()
    assert (machine.trained, len(machine.left)) == ([], 1)


@pytest.mark.parametrize("worker", [lambda: 1, lambda: dead_while_idle(1)])
def test_a_worker_that_failed_is_not_replaced(monkeypatch, worker):
    machine = Machine(monkeypatch, worker(), "trains")
    with pytest.raises(RuntimeError, match="the chunk 0000-00 failed; its worker printed why"):
        machine.run()
    assert len(machine.left) == 1


# It saved its state and ended, or the signal came before it could.
@pytest.mark.parametrize("exitcode", [0, -signal.SIGTERM])
def test_a_signal_to_all_processes_stops_as_one_to_the_first_does(monkeypatch, exitcode):
    send = Pipe.send

    def signal_all(pipe, order):
        signal.raise_signal(signal.SIGTERM)
        send(pipe, order)

    monkeypatch.setattr(Pipe, "send", signal_all)
    machine = Machine(monkeypatch, exitcode, "trains")
    with pytest.raises(Interrupted, match="stopped by SIGTERM at 2 chunks from the end") as stop:
        machine.run()
    assert stop.value.signal == signal.SIGTERM
    assert (machine.trained, len(machine.left)) == ([], 1)


def test_a_worker_saves_though_it_is_asked_to_stop_twice(monkeypatch):
    saved = []

    def train_chunk(folder, chunk, interruption):
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        saved.append(chunk)
        raise Interrupted(interruption, "step 6")

    # This process stays as it is.
    for name in ("setsid", "sched_setaffinity"):
        monkeypatch.setattr(os, name, lambda *_: None, raising=False)
    monkeypatch.setattr(executors, "_die_with_parent", lambda: None)
    monkeypatch.setattr(chunks, "train_chunk", train_chunk)
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        ours.send(("sweep", CHUNKS[0]))
        executors._work(theirs, {0}, {})
    assert saved == [CHUNKS[0]]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "Ray cannot be started: timed out; try again, or use --executor=local"),
        (
            "h:1",
            "--ray_address='h:1' cannot be reached: timed out; give the address of a cluster that "
            "runs, or none to start one here",
        ),
    ],
)
def test_a_ray_that_does_not_start_is_reported_in_one_line(monkeypatch, address, message):
    def init(**options):
        raise Exception("timed out\nsee the logs")

    ray = types.ModuleType("ray")
    ray.init = init
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(UserError, match=f"^{message}$"):
        executors.RayExecutor(address)
