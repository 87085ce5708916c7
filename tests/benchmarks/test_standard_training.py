"""The speed of the standard training, by a clock that is made up."""

import itertools

import pytest

from benchmarks import standard_training
from vae_jax.papers import standard


def test_the_speed_is_the_median_of_calls_after_the_first(monkeypatch):
    monkeypatch.setattr(standard, "_NUM_IMAGES", 128)
    monkeypatch.setattr(standard, "_NUM_CALLS", 3)
    # The first call compiles for 100 s; the others take 4, 1 and 2 s.
    lengths = iter((0, 100, 0, 4, 0, 1, 0, 2))
    times = itertools.accumulate(lengths)
    assert standard.measure_speed(lambda: next(times)) == 128 / 2


def test_multiplications_are_counted_as_those_of_the_runs(monkeypatch):
    monkeypatch.setattr(standard_training, "_NUM_IMAGES", 2)
    monkeypatch.setattr(standard_training, "_NUM_SAMPLES", 3)
    times = itertools.count(0.0, 0.5)
    found = standard_training.multiplications_per_second(lambda: next(times))
    num_parameters = 784 * 400 + 400 + 2 * (400 * 20 + 20) + 20 * 400 + 400 + 400 * 784 + 784
    assert found == pytest.approx(num_parameters / 2 * 2 * 3 / 0.5)
