"""The measurements for an accelerator: their order, their configs, and what stops them."""

import json
import os
import select

import pytest

from benchmarks import accelerator, precision_speed, random_bits
from benchmarks.accelerator import Part
from vae_jax import config

# A benchmark that counts how often it was started.
COUNTING = """
import json, pathlib, sys
(flag,) = (arg for arg in sys.argv if arg.startswith("--output="))
with open("count", "a") as file:
    file.write(sys.argv[1] + "\\n")
pathlib.Path(flag.removeprefix("--output=")).write_text(json.dumps({"size": sys.argv[1]}))
"""

# A benchmark that fails and leaves a process of its own, which holds a pipe open.
LEAVING = """
import subprocess
subprocess.Popen(["sleep", "600"], stdout=open("pipe", "w"))
raise SystemExit(3)
"""


@pytest.fixture
def parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counting.py").write_text(COUNTING)
    (tmp_path / "failing.py").write_text("raise SystemExit(3)")
    (tmp_path / "leaving.py").write_text(LEAVING)
    (tmp_path / "endless.py").write_text("import signal; signal.pause()")
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    return {
        "failing": Part("failing", (), (), 60, path),
        "endless": Part("endless", (), (), 0.5, path),
        "counting": Part("counting", ("whole",), ("small",), 60, path),
    }


def test_a_part_that_fails_or_does_not_end_is_named_and_the_others_are_measured(
    parts, tmp_path, capfd
):
    missing = accelerator.measure(parts, tmp_path, small=False, limit=480)
    assert missing == {
        "failing": "ended with 3 and wrote nothing",
        "endless": "ran past 0 s; what it had measured is in endless.partial.json",
    }
    assert json.loads((tmp_path / "counting.json").read_text()) == {"size": "whole"}
    # The second time it has its file.
    accelerator.measure({"counting": parts["counting"]}, tmp_path, small=False, limit=600)
    assert (tmp_path / "count").read_text() == "whole\n"
    assert f"counting: {tmp_path / 'counting.json'} is there" in capfd.readouterr().out


def test_a_part_has_its_share_of_the_limit(parts, tmp_path, capfd):
    accelerator.measure({"counting": parts["counting"]}, tmp_path, small=False, limit=960)
    assert "counting, up to 120 s" in capfd.readouterr().out


def test_what_a_part_started_ends_with_it(parts, tmp_path):
    os.mkfifo("pipe")
    pipe = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    part = Part("leaving", (), (), 60, parts["counting"].environment)
    problem = accelerator.measure_part(part, tmp_path / "leaving.json", small=False, limit=60)
    assert problem == "ended with 3 and wrote nothing"
    waiting = select.poll()
    waiting.register(pipe, select.POLLHUP)
    assert waiting.poll(10_000)
    os.close(pipe)


def test_no_part_is_begun_after_the_limit(parts, tmp_path):
    some = {"counting": parts["counting"]}
    assert accelerator.measure(some, tmp_path, small=True, limit=0.0) == {
        "counting": "was not begun within 0 s"
    }
    assert not (tmp_path / "count").exists()


def test_a_small_part_takes_its_small_sizes(parts, tmp_path):
    accelerator.measure({"counting": parts["counting"]}, tmp_path, small=True, limit=600)
    assert (tmp_path / "count").read_text() == "small\n"


def test_the_parts_together_fit_into_the_eight_minutes_but_for_their_kills():
    without_kills = [part.seconds for name, part in accelerator.PARTS.items() if "kill" not in name]
    assert sum(without_kills) <= 480


@pytest.mark.parametrize("name", ["faces", "ladder"])
def test_faces_and_the_ladder_are_measured(name):
    part = accelerator.PARTS[name]
    assert part.module == f"benchmarks.{name}_cost"
    assert f"--small_{name}" in part.small


@pytest.mark.parametrize("small", [False, True])
def test_every_network_is_one_that_can_be_trained(small):
    for given, num_examples in precision_speed.experiments(small=small).values():
        resolved = config.resolve(given)
        assert num_examples % resolved.batch_size == 0


def test_bfloat16_is_the_networks_type_and_the_peak_has_a_value(monkeypatch):
    seen = []
    monkeypatch.setattr(precision_speed, "measure", lambda given, *_: seen.append(given))
    (given, _), *_, (residual, _) = precision_speed.experiments(small=True).values()
    for precision in precision_speed.PRECISIONS:
        precision_speed.measure_in(precision, given, 2, 1)
        precision_speed.measure_in(precision, residual, 2, 1)
    dtypes = [config.resolve(found).model.encoder.compute_dtype for found in seen]
    assert dtypes == ["float32"] * 4 + ["bfloat16"] * 2
    assert precision_speed.peak_in("highest", (64,)) > 0


def test_random_bits_are_timed_for_both():
    found = random_bits.measure(2, 1)
    assert set(found) == {"binarize_ours", "binarize_jax", "normal_ours", "normal_jax"}
    assert all(value > 0 for value in found.values())
