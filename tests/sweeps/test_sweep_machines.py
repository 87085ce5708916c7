"""Sweeps on several machines, which are processes here."""

import contextlib
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from benchmarks import kill_sweep
from vae_jax import workdir
from vae_jax.training.records import read_records

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
# Six steps per epoch, in one call.
SMALL = {
    "data.train_split": "train[:300]",
    "data.validation_split": "train[300:350]",
    "data.test_split": "test[:50]",
    "model.encoder.widths": "(16,)",
    "evaluation.num_samples": 2,
}


def undrawn(folder):
    """Return the command that runs the sweep in `folder`, smaller and without its plots."""
    python, _, *command = kill_sweep.command(folder)
    changes = [f"--config.{field}={value}" for field, value in SMALL.items()]
    return [python, "tests/undrawn_command.py", *command, *changes]


@contextlib.contextmanager
def on_one_core():
    """Let processes that begin here use one core; the bits of a run depend on the number."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The sweep without kills, in one process."""
    folder = tmp_path_factory.mktemp("undisturbed") / "sweep"
    with on_one_core():
        subprocess.run(
            [*undrawn(folder), "--trials=4"],
            cwd=ROOT,
            env=ENVIRONMENT,
            check=True,
            capture_output=True,
        )
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


def is_half_done(folder):
    """Return whether some chunk is being trained and has a checkpoint."""
    return any(folder.glob("chunks/*/checkpoints/[0-9]*/manifest.json"))


# Each begins several processes anew.
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers through /proc")
@pytest.mark.parametrize(
    ("executor", "worker_name"),
    [("ray", b"ray::_train_in_worker"), ("processes", b"multiprocessing.spawn")],
)
def test_workers_killed_in_mid_task_change_nothing(tmp_path, undisturbed, executor, worker_name):
    if executor == "ray":
        pytest.importorskip("ray", reason="Ray is an optional requirement")
    folder, mark, log = tmp_path / "sweep", uuid.uuid4().hex, tmp_path / "log"
    command = [*undrawn(folder), "--trials=4", f"--executor={executor}"]
    environment = {
        **ENVIRONMENT,
        "SWEEP_TEST_MARK": mark,
        # A cluster that runs on this machine is none of a test's business.
        "RAY_ADDRESS": "local",
        # Ray gives its parts half a minute each to start, which a busy machine exceeds.
        "RAY_gcs_server_port_wait_time_s": "300",
        "RAY_raylet_start_wait_time_s": "300",
        "RAY_agent_register_timeout_ms": "300000",
        # Ray gives way to all other processes.
        "RAY_worker_niceness": "0",
        # Workers that it starts before there is a task have another environment than the task's.
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
    }
    with open(log, "wb") as output, on_one_core():
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        while not is_half_done(folder):
            assert process.poll() is None, log.read_text(errors="replace")
            time.sleep(0.02)
        # Those of a chunk that has ended meanwhile are gone, and those of the next not yet there.
        while not (workers := workers_marked(mark, worker_name)):
            assert process.poll() is None, log.read_text(errors="replace")
            time.sleep(0.02)
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        code = process.wait()
    finally:
        process.kill()
    assert code == 0, log.read_text(errors="replace")
    assert kill_sweep.differences(folder, undisturbed) == []


SHARED = """
from vae_jax.sweeps import space

def get_sweep():
    return space.grid({"model.latent_size": (3, 5)}, seeds=(0, 1))
"""


# The command, which waits for a line, or the end of its input, once it has written a checkpoint.
WAITING = """
import sys
sys.path.insert(0, "tests")
import undrawn_command
from vae_jax.training import checkpoints

save = checkpoints.save


def save_and_wait(*arguments, **options):
    save(*arguments, **options)
    checkpoints.save = save
    print("\\nwaiting", flush=True)
    sys.stdin.readline()


checkpoints.save = save_and_wait
undrawn_command.main()
"""


# Two whole processes.
@pytest.mark.slow
def test_processes_share_a_workdir_and_finish_what_a_killed_one_began(tmp_path):
    sweep, folder = tmp_path / "shared.py", tmp_path / "sweep"
    sweep.write_text(SHARED)
    python, _, *arguments = undrawn(folder)
    command = [python, "-c", WAITING]
    command += [part for part in arguments if not part.startswith("--sweep=")]
    command.append(f"--sweep={sweep}")

    def begin(chunk):
        """Start a process, and wait until it waits in the middle of the chunk."""
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = []
        for line in process.stdout:
            output.append(line)
            if line == "waiting\n":
                break
        assert any((folder / "chunks" / chunk).glob("checkpoints/*")), "".join(output)
        return process

    with begin("0000-00") as first, begin("0000-01") as second:
        first.kill()
        first.communicate()
        output, _ = second.communicate("\n")
    assert second.returncode == 0, output
    assert "4 members: 4 finished;" in output
    for member in range(4):
        records = read_records(workdir.member_folder(folder, member) / "metrics.jsonl")
        steps = [record["step"] for record in records if record["split"] == "valid"]
        assert steps == [6 * epoch for epoch in range(1, 7)]
    assert {path.name for path in (folder / "chunks").iterdir()} <= {".lock"}
