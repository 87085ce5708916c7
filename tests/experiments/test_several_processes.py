"""Runs of several processes on this machine, started as a user starts them."""

import contextlib
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
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
EPOCHS = 5
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
        "evaluation.num_samples": 2,
        "tensorboard.images_every_epochs": 0,
        # A checkpoint after every call, so that there is one to go on from.
        "checkpoints.every_seconds": 0.0,
    }


def config_of(data, **changes):
    """The experiment; `changes` by dotted name."""
    values = {**overrides(data), **changes}
    return config.resolve(config.with_values(vanilla.get_config(), values))


def free_port():
    """A port that is free now, and that the system gives to no other program meanwhile."""
    # The first process listens seconds later. These lie below those of outgoing connections, and
    # above those of Ray's workers.
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def environment(num_devices=2, **variables):
    simulated = f"--xla_force_host_platform_device_count={num_devices}"
    flags = f"{os.environ['XLA_FLAGS']} {simulated}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, **variables}


# A command that gets a signal when it has saved a step, both named by its first arguments.
STRUCK = """
import os, sys
sys.path.insert(0, "tests")
import undrawn_command
from vae_jax.training import checkpoints

number, last_step = (int(sys.argv.pop(1)) for _ in range(2))
save = checkpoints.save


def save_and_send(directory, step, *arguments, **options):
    save(directory, step, *arguments, **options)
    if step == last_step:
        os.kill(os.getpid(), number)


checkpoints.save = save_and_send
undrawn_command.main()
"""


def start(data, folder, *extra, struck=(0, -1), variables=None):
    """One process of a run."""
    command = [
        *(sys.executable, "-c", STRUCK, *(str(int(part)) for part in struck), "experiments.train"),
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


def start_two(data, folder, **struck):
    """Start both; `struck` has the signal of one and the step after which it comes."""
    together = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    return [
        start(data, folder, *together, f"--process_id={rank}", struck=struck.get(name, (0, -1)))
        for rank, name in enumerate(("first", "second"))
    ]


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


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("data") / "bars.npz")


@pytest.fixture(scope="module")
def launched(data, tmp_path_factory):
    """The output and the folder of a run whose two processes the launcher starts, on a stream."""
    folder = tmp_path_factory.mktemp("launched") / "run"
    return launch(data, folder), folder


def launch(data, folder):
    changed = {**overrides(data), "data.mode": "stream"}
    command = [
        *("sh", "experiments/launchers/two_processes.sh", "--config=configs/vanilla.py"),
        *(f"--workdir={folder}", *(f"--config.{k}={v}" for k, v in changed.items())),
    ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(PATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# Two processes start four times here, and once for the run to compare with.
@pytest.mark.slow
def test_a_run_of_two_processes_outlives_a_stop_and_the_death_of_either_between_calls(
    data, launched, tmp_path
):
    folder, (_, undisturbed) = tmp_path / "run", launched

    # It stops after the next call.
    results = ended(start_two(data, folder, second=(signal.SIGTERM, 6)))
    step = newest_step(folder)
    assert step == 12
    for output, code in results:
        assert code == 128 + signal.SIGTERM, output
        assert f"stopped by SIGTERM at step {step}; the same command continues" in output

    for lost, step in (("second", 18), ("first", 24)):
        results = ended(start_two(data, folder, **{lost: (signal.SIGKILL, step)}))
        output, code = results[lost == "first"]
        # Either a collective failed and we say so, or JAX was first to abort.
        assert (code == 2 and "error: another process of the run is gone" in output) or (
            code == -signal.SIGABRT and "JAX distributed service detected fatal errors" in output
        ), output
        assert newest_step(folder) == step

    # One process on one device goes on from there as well.
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    train(config_of(data), alone)
    assert_same(data, alone, undisturbed, bitwise=False)

    for output, code in ended(start_two(data, folder)):
        assert code == 0, output
    # In memory, and the other from a stream.
    assert_same(data, folder, undisturbed, bitwise=True)


# Two processes, twice.
@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the launcher is a shell script")
def test_two_processes_share_a_stream_and_report_the_end_once(data, launched, tmp_path):
    output, folder = launched
    assert output.count("test elbo") == 1
    # A finished run has nothing left to do, in either process.
    assert launch(data, folder).count("is finished") == 1
    # One process with as many devices, and the data in memory.
    alone = tmp_path / "alone"
    train(config_of(data), alone, devices=jax.devices()[:4])
    assert losses(folder).keys() == losses(alone).keys()
    np.testing.assert_allclose(
        list(losses(folder).values()), list(losses(alone).values()), rtol=1e-4
    )


# Two processes start, as under Slurm.
@pytest.mark.slow
def test_processes_with_different_configs_end_before_they_begin(data, tmp_path):
    folder = tmp_path / "run"
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
