"""Sweeps on several machines, which are processes here."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import optuna
import postgresql
import pytest

from benchmarks import kill_sweep
from vae_jax import workdir

ROOT = Path(__file__).parents[2]


def undisturbed(folder, executor):
    """The sweep without kills, its members on as many cores: bits depend on their number."""
    alone = [f"--executor={executor}"] if executor == "processes" else []
    command = [*kill_sweep.command(folder), "--trials=4", *alone]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def workers_marked(mark, name):
    """Process numbers of the workers below us, by what their command line says."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            trains = name in (process / "cmdline").read_bytes()
            if trains and mark.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


# Each begins several processes anew, and is killed in the middle of its work.
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers through /proc")
@pytest.mark.parametrize(
    ("executor", "worker_name"),
    [("ray", b"ray::_train_in_worker"), ("processes", b"multiprocessing.spawn")],
)
def test_workers_killed_in_mid_task_change_nothing(tmp_path, executor, worker_name):
    if executor == "ray":
        pytest.importorskip("ray", reason="Ray is an optional requirement")
    folder, mark, rng = tmp_path / "sweep", uuid.uuid4().hex, random.Random(0)
    command = [*kill_sweep.command(folder), "--trials=4", f"--executor={executor}"]
    environment = {**os.environ, "SWEEP_TEST_MARK": mark}
    log = tmp_path / "log"
    kills = 0
    with open(log, "wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            while process.poll() is None:
                workers = workers_marked(mark, worker_name)
                if workers and kills < 2:
                    # Late enough for a chunk to have begun, whose worker imports JAX first.
                    time.sleep(rng.uniform(2, 6))
                    for worker in workers[:1]:
                        try:
                            os.kill(worker, signal.SIGKILL)
                            kills += 1
                        except ProcessLookupError:
                            pass
                time.sleep(0.2)
        finally:
            process.kill()
    assert process.returncode == 0, log.read_text(errors="replace")
    assert kills >= 1
    assert kill_sweep.differences(folder, undisturbed(tmp_path / "undisturbed", executor)) == []


# A database server and two whole processes.
@pytest.mark.slow
def test_two_processes_on_one_postgresql_study_lose_nothing_and_run_nothing_twice(tmp_path):
    sweep = tmp_path / "swept.py"
    sweep.write_text(
        "from vae_jax import search_space as space\n"
        "def get_sweep():\n"
        "    return space.random({'hparams.learning_rate': space.Uniform(1e-3, 1e-1, log=True)},"
        " num_trials=12)\n"
    )
    overrides = kill_sweep._OVERRIDES
    folders = [tmp_path / name for name in ("first", "second")]
    with postgresql.running() as url:
        processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "experiments.sweep",
                    "--config=configs/vanilla.py",
                    f"--sweep={sweep}",
                    f"--workdir={folder}",
                    f"--storage={url}",
                    "--batch=2",
                    *(f"--config.{field}={value}" for field, value in overrides.items()),
                ],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for folder in folders
        ]
        for process in processes:
            output, _ = process.communicate()
            assert process.returncode == 0, output
        trials = kill_sweep.trials_in(url)
    assert [trial.state for trial in trials] == [optuna.trial.TrialState.COMPLETE] * 12
    members = [
        sorted(int(path.parent.name) for path in folder.glob("members/*/member.json"))
        for folder in folders
    ]
    # Each member was trained by one of the two, and both had their share.
    assert sorted(members[0] + members[1]) == list(range(12))
    assert all(members)
    # Who ended last knows of all.
    rows = [workdir.read_json(folder / "results.json")["members"] for folder in folders]
    assert max(map(len, rows)) == 12
