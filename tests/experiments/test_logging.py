"""Runs and members of sweeps in a logger: continued, finished, filled later, left out."""

import logging

import pytest
import small_logger
from short_runs import stops_after
from small_configs import small_config
from small_data import write_bars

from experiments import train
from vae_jax import workdir
from vae_jax.sweeps.member_files import write_member
from vae_jax.sweeps.member_logs import MemberLogs
from vae_jax.training.loop import Interrupted
from vae_jax.training.records import read_records

LOG = ("small_logger",)


@pytest.fixture
def kept(monkeypatch):
    return small_logger.use(monkeypatch)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return small_config(
        {
            "data.name": str(write_bars(tmp_path_factory.mktemp("data") / "bars.npz")),
            "data.train_split": "train[:64]",
            "data.validation_split": "train[64:96]",
            "data.test_split": "test[:24]",
            "epochs": 2,
            "batch_size": 16,
            "steps_per_call": 2,
            "checkpoints.every_seconds": 0.0,
            "tensorboard.images_every_epochs": 0,
            "evaluation.num_samples": 2,
        }
    )


def metrics_of(folder):
    """The records of a run as a logger shows them, by step."""
    found = {}
    for record in read_records(folder / "metrics.jsonl"):
        step, split, epoch = (record.pop(name) for name in ("step", "split", "epoch"))
        own = found.setdefault(step, {"epoch": epoch})
        own |= {f"{split}/{name}": value for name, value in record.items()}
    return list(found.items())


def test_a_run_that_is_stopped_and_continued_is_one_run_in_the_logger(
    config, tmp_path, kept, monkeypatch
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stops_after(patch, 2)
        with pytest.raises(Interrupted):
            train.train(config, folder, log=LOG)
    (own,) = kept.values()
    assert own["state"] == "stopped"
    train.train(config, folder, log=LOG)
    (own,) = kept.values()
    assert own["log"] == metrics_of(folder)
    assert own["config"]["model.latent_size"] == 3
    step, final = own["final"]
    summary = workdir.read_summary(folder)
    assert (step, final["test/elbo"]) == (8, summary["test"]["elbo"])
    assert final["wall_seconds"] == summary["wall_seconds"]
    assert own["state"] == "finished"
    # A finished run is not sent again, and one that was not sent is, without training.
    train.train(config, folder, log=LOG)
    assert len(kept) == 1
    (folder / "loggers.json").unlink()
    train.train(config, folder, log=LOG)
    first, second = kept.values()
    assert first == second


def test_training_goes_on_without_a_logger_that_fails(config, tmp_path, kept, monkeypatch, caplog):
    def fail(*_, **__):
        raise TimeoutError("too late")

    folder = tmp_path / "run"
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(small_logger.Kept, "log", fail)
        train.train(config, folder, log=LOG)
    assert [record.getMessage()[:25] for record in caplog.records] == ["--log=small_logger failed"]
    assert workdir.read_summary(folder)["step"] == 8
    train.train(config, folder, log=LOG)
    assert next(iter(kept.values()))["log"] == metrics_of(folder)


def test_each_member_of_a_sweep_is_a_run_once(tmp_path, kept, monkeypatch):
    folder = tmp_path / "sweep"
    ended = {0: "finished", 1: "diverged"}
    for member in (0, 1, 2):
        own = workdir.member_folder(folder, member)
        own.mkdir(parents=True)
        workdir.write_json(own / "config.json", {"seed": member, "objective": {"name": "elbo"}})
        line = '{"step": 4, "epoch": 1, "split": "train", "loss": 2.5}\n'
        (own / "metrics.jsonl").write_text(line)
        if member in ended:
            known = {"trial": member, "seed": member, "status": ended[member], "problem": ""}
            known |= {"valid": {"elbo": -3.0}, "step": 4, "epoch": 1, "best_epoch": 1}
            write_member(own, {"member": member, **known, "train_seconds": 0.5})
    # The last member has not ended, and one of another machine is not here.
    for _ in range(2):
        MemberLogs(folder, LOG).send([0, 1, 2, 7])
    assert list(kept) == ["sweep-0000 0", "sweep-0001 1"]
    first, second = kept.values()
    assert first["config"] == {"seed": 0, "objective.name": "elbo"}
    assert first["log"] == [(4, {"train/loss": 2.5, "epoch": 1})]
    assert first["final"] == (4, {"best_valid/elbo": -3.0, "best_epoch": 1, "train_seconds": 0.5})
    assert (first["state"], second["state"]) == ("finished", "failed")


def test_a_logger_that_fails_is_asked_once_for_a_sweep(tmp_path, kept, monkeypatch, caplog):
    test_each_member_of_a_sweep_is_a_run_once(tmp_path, kept, monkeypatch)
    for member in (0, 1):
        (workdir.member_folder(tmp_path / "sweep", member) / "loggers.json").unlink()

    def fail(*_):
        raise ConnectionError("nobody is there")

    monkeypatch.setattr(small_logger.Kept, "__init__", fail)
    with caplog.at_level(logging.WARNING):
        MemberLogs(tmp_path / "sweep", LOG).send([0, 1])
    assert len(caplog.records) == 1
