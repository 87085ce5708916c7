"""The benchmark of training on a table, on a small one."""

import numpy as np
import pytest

from benchmarks import table_speed


def test_a_small_table_is_compared_with_images(monkeypatch):
    monkeypatch.setattr(table_speed, "matmul_peak", lambda *_, **__: 1e12)
    monkeypatch.setattr(table_speed, "peak_memory_gib", lambda *_: 1.0)
    found = table_speed.compare(num_rows=1024, num_images=512, repeats=1)
    assert (found["num_rows"], found["num_columns"]) == (1024, 20)
    # Products of the encoder with 20 values and their mask or 784, of the decoder with as many.
    hidden = 2 * 128 * 128 + 3 * 6 * 128
    table, images = (found[name]["forward_flops_per_example"] / 2 for name in ("table", "images"))
    assert images == hidden + 2 * 784 * 128
    assert hidden + 2 * 20 * 128 <= table <= hidden + 3 * 20 * 128
    for measured in (found["table"], found["images"]):
        share = measured["examples_per_second"] / measured["bound"]
        assert 0 < measured["share_of_bound"] == share < 1
    bound = 1e12 / (3 * found["images"]["forward_flops_per_example"])
    assert found["times_bound_on_images"] == found["table"]["examples_per_second"] / bound
    assert found["peak_memory_gib"] == 1


def test_a_run_that_fails_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(table_speed.sys, "executable", "false")
    with pytest.raises(RuntimeError, match=r"experiments\.train .*rows\.npz.* failed"):
        table_speed.peak_memory_gib(tmp_path / "rows.npz", tmp_path / "run")


def test_the_table_is_the_same_every_time(tmp_path):
    for name in "ab":
        table_speed.write_table(tmp_path / f"{name}.npz", 600)
    first, second = (np.load(tmp_path / f"{name}.npz")["train_rows"] for name in "ab")
    assert first.shape == (600, 20)
    np.testing.assert_array_equal(first, second)
