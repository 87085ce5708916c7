"""Agreement between processes, with threads in their place."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from vae_jax.errors import UserError
from vae_jax.training import processes


def messages(monkeypatch, *settings):
    """Return the error of `check_same` in each process, None if there is none."""
    barrier, given = threading.Barrier(len(settings), timeout=60), {}

    def gather(array):
        given[threading.get_ident()] = array
        barrier.wait()
        # As in JAX, arrays of different shapes are an error.
        gathered = np.stack(list(given.values()))
        barrier.wait()
        return gathered

    def message(own):
        try:
            return processes.check_same(own)
        except UserError as error:
            return str(error)

    monkeypatch.setattr(processes.multihost_utils, "process_allgather", gather)
    with ThreadPoolExecutor(len(settings)) as pool:
        return list(pool.map(message, settings))


def test_the_same_settings_agree_in_any_order(monkeypatch):
    same = {"beta": 4.0, "widths": (16, 8)}
    assert messages(monkeypatch, same, dict(reversed(same.items())), dict(same)) == [None] * 3


def test_every_process_names_the_setting_that_differs(monkeypatch):
    found = messages(monkeypatch, {"beta": 4.0, "seed": 1}, {"beta": 1.0, "seed": 1})
    assert "this one with beta=4.0; give all the same" in found[0]
    assert "this one with beta=1.0; give all the same" in found[1]


def test_configs_of_different_fields_differ(monkeypatch):
    found = messages(monkeypatch, {"beta": 4.0}, {"gamma": 4.0, "seed": 1})
    assert all("started with different configs" in text for text in found)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer"),
        jax.errors.JaxRuntimeError("INTERNAL: NCCL operation failed: remote process exited"),
        jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out"),
    ],
)
def test_failed_collectives_are_those_of_a_lost_process(error):
    assert "another process of the run is gone" in str(processes.lost(error))


def test_other_errors_are_not():
    assert processes.lost(ValueError("shapes do not match")) is None
    assert processes.lost(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")) is None
