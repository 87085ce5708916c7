"""Runs of several processes on this machine, started as a user starts them."""

import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from small_data import write_bars

from configs import vanilla
from experiments import process_flags
from experiments.train import train
from vae_jax import config
from vae_jax.errors import UserError
from vae_jax.training import checkpoints
from vae_jax.training.records import read_records

ROOT = Path(__file__).parents[2]
EPOCHS = 20
# A bound for what hangs; the tests wait for events.
SECONDS = 240


def overrides(data):
    return {
        "batch_size": 32,
        "epochs": EPOCHS,
        "data.name": str(data),
        "data.train_split": "train[:192]",
        "data.validation_split": "train[192:]",
        "model.encoder.widths": (16,),
        "model.latent_size": 3,
        "evaluation.num_samples": 10,
        "tensorboard.images_every_epochs": 0,
        # A checkpoint after every call, so that there is one to go on from.
        "checkpoints.every_seconds": 0.0,
    }


def config_of(data, **changes):
    """The experiment; `changes` by dotted name."""
    values = {**overrides(data), **changes}
    return config.resolve(config.with_values(vanilla.get_config(), values))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def environment(num_devices=2, **variables):
    simulated = f"--xla_force_host_platform_device_count={num_devices}"
    flags = f"{os.environ['XLA_FLAGS']} {simulated}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, **variables}


def start(data, folder, *extra, variables=None):
    """One process of a run."""
    command = [
        *(sys.executable, "tests/undrawn_command.py", "experiments.train"),
        "--config=configs/vanilla.py",
        *(f"--workdir={folder}", *(f"--config.{k}={v}" for k, v in overrides(data).items())),
        *extra,
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(**(variables or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(data, folder):
    together = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    return [start(data, folder, *together, f"--process_id={rank}") for rank in range(2)]


def ended(processes):
    """The output and the exit code of each."""
    try:
        outputs = [process.communicate(timeout=SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (output, process.returncode) for output, process in zip(outputs, processes, strict=True)
    ]


def wait_for_checkpoint(folder, after, processes):
    deadline = time.monotonic() + SECONDS
    while (checkpoints.steps(folder / "checkpoints") or [0])[-1] <= after:
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            for process in processes:
                process.kill()
            pytest.fail("\n".join(process.communicate()[0] for process in processes))
        time.sleep(0.05)


def newest_step(folder):
    return checkpoints.steps(folder / "checkpoints")[-1]


@functools.cache
def template_of(data):
    return config.run_state_template(config_of(data), (8, 8, 1))


def final_state(data, folder):
    checkpoint = checkpoints.restore(folder / "checkpoints", template_of(data))
    assert checkpoint.step == 6 * EPOCHS
    return [np.asarray(leaf) for leaf in jax.tree.leaves(checkpoint.tree.train.params)]


def losses(folder):
    records = read_records(folder / "metrics.jsonl")
    return {(record["step"], record["split"]): record["loss"] for record in records}


def assert_same(data, folder, expected, *, bitwise):
    assert losses(folder).keys() == losses(expected).keys()
    pairs = [
        *zip(final_state(data, folder), final_state(data, expected), strict=True),
        (list(losses(folder).values()), list(losses(expected).values())),
    ]
    for ours, theirs in pairs:
        if bitwise:
            np.testing.assert_array_equal(ours, theirs)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4)


# Two processes begin anew four times, and once more as the run to compare with.
@pytest.mark.slow
def test_a_run_of_two_processes_outlives_a_stop_and_the_death_of_either(tmp_path):
    data, folder, undisturbed = write_bars(tmp_path / "bars.npz"), tmp_path / "a", tmp_path / "b"
    for output, code in ended(start_two(data, undisturbed)):
        assert code == 0, output

    processes = start_two(data, folder)
    wait_for_checkpoint(folder, 0, processes)
    processes[1].send_signal(signal.SIGTERM)
    results = ended(processes)
    step = newest_step(folder)
    assert 0 < step < 6 * EPOCHS, "it was not stopped on its way"
    for output, code in results:
        assert code == 128 + signal.SIGTERM, output
        assert f"stopped by SIGTERM at step {step}; the same command continues" in output

    for lost in (1, 0):
        processes = start_two(data, folder)
        wait_for_checkpoint(folder, step, processes)
        processes[lost].kill()
        output, code = ended(processes)[1 - lost]
        # Either a collective failed and we say so, or JAX was first to abort.
        assert (code == 2 and "error: another process of the run is gone" in output) or (
            code == -signal.SIGABRT and "JAX distributed service detected fatal errors" in output
        ), output
        step = newest_step(folder)
        assert step < 6 * EPOCHS, "it was not killed on its way"

    # One process on one device goes on from there as well.
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    train(config_of(data), alone)
    assert_same(data, alone, undisturbed, bitwise=False)

    for output, code in ended(start_two(data, folder)):
        assert code == 0, output
    assert_same(data, folder, undisturbed, bitwise=True)


# Two processes, twice.
@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the launcher is a shell script")
def test_two_processes_share_a_stream_and_report_the_end_once(tmp_path):
    data, folder, alone = (tmp_path / name for name in ("bars.npz", "run", "alone"))
    write_bars(data)
    changed = {**overrides(data), "epochs": 3, "data.mode": "stream"}
    command = [
        *("sh", "experiments/launchers/two_processes.sh", "--config=configs/vanilla.py"),
        *(f"--workdir={folder}", *(f"--config.{k}={v}" for k, v in changed.items())),
    ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # A finished run has nothing left to do, in either process.
    for message in ("test elbo", "is finished"):
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stdout
        assert done.stdout.count(message) == 1
    # One process with as many devices, and the data in memory.
    train(config_of(data, epochs=3), alone, devices=jax.devices()[:2])
    assert losses(folder).keys() == losses(alone).keys()
    np.testing.assert_allclose(
        list(losses(folder).values()), list(losses(alone).values()), rtol=1e-6
    )


# Two processes start, as under Slurm.
@pytest.mark.slow
def test_processes_with_different_configs_end_before_they_begin(tmp_path):
    data, folder = write_bars(tmp_path / "bars.npz"), tmp_path / "run"
    slurm = {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "JAX_COORDINATOR_PORT": str(free_port()),
    }
    processes = [
        start(
            data,
            folder,
            "--coordinator=slurm",
            f"--config.objective.beta={beta}",
            variables={**slurm, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for rank, beta in enumerate((4.0, 1.0))
    ]
    for (output, code), beta in zip(ended(processes), (4.0, 1.0), strict=True):
        assert code == 2, output
        assert (
            "error: the processes were started with different settings, this one with "
            f"objective.beta={beta}; give all the same\n"
        ) in output
    assert not folder.exists()


@pytest.mark.parametrize("given", [{"num_processes": 2}, {"process_id": 1}])
def test_flags_of_several_processes_need_a_coordinator(parsed_flags, given):
    ((name, value),) = given.items()
    with (
        flagsaver.flagsaver(**given),
        pytest.raises(UserError, match=f"--{name}={value} needs --coordinator"),
        process_flags.together({}),
    ):
        pass


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (
            {"coordinator": "a:1", "num_processes": 3, "process_id": 2},
            {
                "coordinator_address": "a:1",
                # Not every interface.
                "coordinator_bind_address": "a:1",
                "num_processes": 3,
                "process_id": 2,
                "cluster_detection_method": "deactivate",
            },
        ),
        ({"coordinator": "auto"}, {"cluster_detection_method": None}),
        ({"coordinator": "slurm"}, {"cluster_detection_method": "slurm"}),
    ],
)
def test_flags_go_to_jax_and_what_it_refuses_to_the_user(parsed_flags, monkeypatch, given, passed):
    def refuse(**arguments):
        assert {name: arguments[name] for name in passed} == passed
        raise ValueError("Number of processes must be defined.")

    monkeypatch.delenv("JAX_COORDINATOR_BIND_ADDRESS", raising=False)
    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    with (
        flagsaver.flagsaver(**given),
        pytest.raises(UserError, match=f"={given['coordinator']}: Number of processes must be"),
        process_flags.together({}),
    ):
        pass
