"""Runs of several processes on this machine, started as a user starts them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from interruptions import StopsAfter
from small_data import write_bars

from configs import vanilla
from experiments import process_flags
from experiments import train as train_command
from experiments.train import train
from vae_jax import config
from vae_jax.config import run
from vae_jax.config.fields import with_fields
from vae_jax.errors import UserError
from vae_jax.training import checkpoints
from vae_jax.training.loop import Interrupted
from vae_jax.training.records import read_records

ROOT = Path(__file__).parents[2]
EPOCHS = 60


def overrides(data):
    return {
        "batch_size": 32,
        "epochs": EPOCHS,
        "data.name": str(data),
        "data.train_split": "train[:192]",
        "data.validation_split": "train[192:]",
        "model.widths": (16,),
        "model.latent_size": 3,
        "evaluation.num_samples": 10,
        "tensorboard.images_every_epochs": 0,
        # A checkpoint after every call, so that there is one to go on from.
        "checkpoints.every_seconds": 0.0,
    }


def config_of(data, **changes):
    changed = {**overrides(data), **changes}
    return vanilla.ConfigDict(with_fields(vanilla.get_config().to_dict(), changed))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(data, folder, rank, num_processes, port, *extra, num_devices=2):
    """One process of a run."""
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} "
        f"--xla_force_host_platform_device_count={num_devices}",
    }
    command = [
        sys.executable,
        *("-m", "experiments.train", "--config=configs/vanilla.py", f"--workdir={folder}"),
        *(f"--coordinator=127.0.0.1:{port}", "--process_timeout=120"),
        *(f"--num_processes={num_processes}", f"--process_id={rank}"),
        *(f"--config.{field}={value}" for field, value in overrides(data).items()),
        *extra,
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(processes):
    """The output and the exit code of each."""
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (output, process.returncode) for output, process in zip(outputs, processes, strict=True)
    ]


def wait_for_checkpoint(folder, after, processes):
    deadline = time.monotonic() + 120
    while (checkpoints.steps(folder / "checkpoints") or [0])[-1] <= after:
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            for process in processes:
                process.kill()
            pytest.fail("\n".join(process.communicate()[0] for process in processes))
        time.sleep(0.05)


def final_state(data, folder):
    template = config.run_state_template(config_of(data), (8, 8, 1))
    checkpoint = checkpoints.restore(folder / "checkpoints", template)
    return checkpoint.step, [
        np.asarray(leaf) for leaf in jax.tree.leaves(checkpoint.tree.train.params)
    ]


# Two processes begin anew three times.
@pytest.mark.slow
def test_whichever_process_dies_the_run_goes_on_with_nothing_lost(tmp_path, monkeypatch):
    data, folder, port = write_bars(tmp_path / "bars.npz"), tmp_path / "run", free_port()
    alone = tmp_path / "alone"
    train(config_of(data, **{"checkpoints.every_seconds": 1e6}), alone)
    step = 0
    for lost in (1, 0):
        processes = [start(data, folder, rank, 2, port) for rank in range(2)]
        wait_for_checkpoint(folder, step, processes)
        processes[lost].send_signal(signal.SIGKILL)
        begin = time.monotonic()
        output, code = ended(processes)[1 - lost]
        assert time.monotonic() - begin < 60
        assert code == process_flags.EXIT_LOST, output
        assert f"error: process {lost} of 2 died; so this one ends. Start all" in output
        assert "Traceback" not in output
        # JAX's own service, which would have ended it without a word of ours, noticed nothing.
        log = (folder / f"process_{1 - lost}.log").read_text()
        assert "Gloo" in log
        assert "Terminating" not in log
        step = checkpoints.steps(folder / "checkpoints")[-1]
        assert 0 < step < 6 * EPOCHS, "it was not killed on its way"

    # Four devices of two processes, then eight of one, then one.
    assert len(jax.devices()) == 8
    with monkeypatch.context() as patch:
        stopping = contextlib.nullcontext(StopsAfter(EPOCHS // 6))
        patch.setattr(run, "deferred", lambda: stopping)
        with pytest.raises(Interrupted):
            train(config_of(data), folder, devices=jax.devices())
    assert step < checkpoints.steps(folder / "checkpoints")[-1] < 6 * EPOCHS
    train(config_of(data), folder)
    steps, params = zip(final_state(data, folder), final_state(data, alone), strict=True)
    assert steps == (6 * EPOCHS, 6 * EPOCHS)
    for ours, expected in zip(*params, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=2e-4)
    ours, expected = (read_records(path / "metrics.jsonl") for path in (folder, alone))
    assert [(r["step"], r["split"]) for r in ours] == [(r["step"], r["split"]) for r in expected]
    losses = [[record["loss"] for record in records] for records in (ours, expected)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


# Two processes, once.
@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the launcher is a shell script")
def test_two_processes_share_a_stream_and_tell_of_the_end_once(tmp_path):
    data, folder = write_bars(tmp_path / "bars.npz"), tmp_path / "run"
    changed = {**overrides(data), "epochs": 3, "data.mode": "stream"}
    command = [
        *("sh", "experiments/launchers/two_processes.sh", "--config=configs/vanilla.py"),
        *(f"--workdir={folder}", *(f"--config.{k}={v}" for k, v in changed.items())),
    ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PORT": str(free_port()), "PATH": path}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    # Only one process measured, drew and told.
    assert output.count("test elbo") == 1
    # The chatter of native code is in files, beside the run's.
    assert "Gloo" not in output
    assert {"process_0.log", "process_1.log", "summary.json"} <= set(os.listdir(folder))
    # Started again, both know that there is nothing left.
    again = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert (again.stdout + again.stderr).count("is finished") == 1
    alone = tmp_path / "alone"
    train(config_of(data, epochs=3), alone)
    losses = [
        [record["loss"] for record in read_records(path / "metrics.jsonl")]
        for path in (folder, alone)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.slow
def test_processes_that_were_told_different_things_end_before_they_begin(tmp_path):
    data, folder, port = write_bars(tmp_path / "bars.npz"), tmp_path / "run", free_port()
    others = ["--config.hparams.beta=4", "--config.hparams.beta=1"]
    for output, code in ended([start(data, folder, r, 2, port, others[r]) for r in range(2)]):
        assert code == 2
        assert output.splitlines()[-1] == (
            "error: process 1 was started with hparams.beta=1.0 and process 0 with 4.0; start all "
            "with the same"
        )
    assert not folder.exists()


@pytest.fixture
def no_cluster(monkeypatch):
    """Flags as they are by default, and no variables of a cluster."""
    flags.FLAGS(["test"])
    for name in [name for name in os.environ if name.startswith(("SLURM_", "JAX_COORDINATOR"))]:
        monkeypatch.delenv(name)
    yield monkeypatch
    flags.FLAGS.unparse_flags()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"num_processes": 2}, "--num_processes=2 needs --coordinator"),
        ({"process_id": 1}, "--process_id=1 needs --coordinator"),
        (
            {"coordinator": "a:1", "process_id": 1},
            "--num_processes is missing, which --coordinator",
        ),
        ({"coordinator": "slurm"}, "--coordinator=slurm needs a job step of Slurm"),
    ],
)
def test_flags_of_processes_that_do_not_fit_together(no_cluster, tmp_path, given, told):
    with (
        flagsaver.flagsaver(**given),
        pytest.raises(UserError, match=told),
        process_flags.together({}, tmp_path),
    ):
        pass


def test_the_place_of_a_process_comes_from_flags_variables_or_slurm(no_cluster):
    assert process_flags._place() is None
    with flagsaver.flagsaver(coordinator="a:1", num_processes=3, process_id=2):
        assert process_flags._place() == ("a:1", 3, 2)
    for name, value in (
        ("COORDINATOR_ADDRESS", "b:2"),
        ("NUM_PROCESSES", "4"),
        ("PROCESS_ID", "0"),
    ):
        no_cluster.setenv(f"JAX_{name}", value)
    assert process_flags._place() == ("b:2", 4, 0)
    no_cluster.setenv("JAX_PROCESS_ID", "first")
    with pytest.raises(UserError, match="JAX_PROCESS_ID='first' must be a number"):
        process_flags._place()
    for name in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID"):
        no_cluster.delenv(f"JAX_{name}")
    for name, value in (("STEP_NODELIST", "node[3-4]"), ("NTASKS", "2"), ("PROCID", "1")):
        no_cluster.setenv(f"SLURM_{name}", value)
    with flagsaver.flagsaver(coordinator="slurm"):
        assert process_flags._place() == (f"node3:{process_flags._SLURM_PORT}", 2, 1)


@pytest.mark.parametrize("wrong", [0, 9])
def test_more_devices_than_there_are_are_refused(no_cluster, wrong):
    with (
        flagsaver.flagsaver(num_devices=wrong),
        pytest.raises(UserError, match=f"--num_devices={wrong} must be at least 1 and at most 8"),
    ):
        train_command._devices()


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("node7", "node7"),
        ("node[03-05,9],other", "node03"),
        ("a1,a2", "a1"),
        ("rack[12]-ib,x", "rack12-ib"),
    ],
)
def test_the_first_host_of_slurms_list(hosts, first):
    assert process_flags.first_host(hosts) == first
