"""A run that a program trains: it continues, is like any other, and refuses what is wrong."""

import json
import re

import numpy as np
import pytest
from small_configs import small_config
from small_data import write_bars

import vae_jax
from vae_jax.errors import UserError


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    data = write_bars(tmp_path_factory.mktemp("data") / "bars.npz")
    return small_config(
        {
            "epochs": 2,
            "batch_size": 64,
            "data.name": str(data),
            "data.train_split": "train[:192]",
            "data.validation_split": "train[192:]",
            "evaluation.num_samples": 2,
        }
    )


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    return vae_jax.train(config, tmp_path_factory.mktemp("runs") / "bars")


def test_a_run_returns_what_its_folder_has(run):
    assert json.loads((run.folder / "summary.json").read_text())["test"] == run.test
    ends = [(record["split"], record["epoch"]) for record in run.records]
    assert ("valid", 2) in ends
    images = run.model.load_test().images
    loaded = vae_jax.load(run.folder)
    np.testing.assert_array_equal(loaded.latents(images), run.model.latents(images))
    assert not (run.folder / "plots").exists()


def test_a_run_and_its_model_are_shown_in_a_line(run):
    assert repr(run).startswith(f"<Run in {run.folder}: test elbo ")
    assert re.fullmatch(r"<TrainedModel vae of \S+, \d+ latents>", repr(run.model))


def test_a_finished_run_is_read_and_not_trained_again(config, run, monkeypatch):
    monkeypatch.setattr("vae_jax.config.run.fit", None)
    again = vae_jax.train(config, str(run.folder))
    assert again.test == run.test
    assert again.records == run.records


def test_a_wrong_setting_is_refused_and_leaves_no_folder(config, tmp_path):
    with pytest.raises(UserError, match="epochs=0"):
        vae_jax.train({**config, "epochs": 0}, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
    data = {**config["data"], "test_split": "none"}
    with pytest.raises(UserError, match="'none', which is not known"):
        vae_jax.train({**config, "data": data}, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
