"""The cost of a training: the speed of its last epoch, and the peaks of memory."""

import types

import pytest

from benchmarks import training_cost


def test_the_speed_is_that_of_all_calls_of_the_last_epoch():
    records = [
        {"split": "train", "step": 10, "epoch": 1, "examples_per_second": 1.0},
        {"split": "valid", "step": 10, "epoch": 1},
        # 8 steps in 4 s, then 2 in 1 s.
        {"split": "train", "step": 18, "epoch": 1.8, "examples_per_second": 8.0},
        {"split": "train", "step": 20, "epoch": 2, "examples_per_second": 8.0},
    ]
    assert training_cost.last_epoch_speed(records, 4) == pytest.approx(8.0)
    # The last two in 4 s.
    records[-1]["examples_per_second"] = 2.0
    assert training_cost.last_epoch_speed(records, 4) == pytest.approx(10 * 4 / 8)


@pytest.mark.parametrize(
    ("platform", "stats", "names"),
    [
        ("cpu", {"peak_bytes_in_use": 2**30}, ["peak_memory_gib"]),
        ("gpu", None, ["peak_memory_gib"]),
        ("gpu", {"peak_bytes_in_use": 2**30}, ["peak_memory_gib", "peak_device_memory_gib"]),
    ],
)
def test_a_device_has_a_peak_of_its_own_if_it_counts_it(monkeypatch, platform, stats, names):
    device = types.SimpleNamespace(platform=platform, memory_stats=lambda: stats)
    monkeypatch.setattr(training_cost.jax, "local_devices", lambda: [device])
    peaks = training_cost.peak_memory()
    assert list(peaks) == names
    assert 0.01 < peaks["peak_memory_gib"] < 1024
    assert peaks.get("peak_device_memory_gib", 1.0) == 1.0
