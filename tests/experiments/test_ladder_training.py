"""A run of a ladder of latents: continued bit by bit, its records, plots and samples by layer."""

import json

import numpy as np
import pytest
import short_runs
from small_data import write_bars

import vae_jax
from configs import ladder
from experiments import train
from vae_jax import config as factory
from vae_jax.applications.generation import samplers
from vae_jax.config.keys import make_key
from vae_jax.training.loop import Interrupted
from vae_jax.training.records import read_records

pytestmark = pytest.mark.usefixtures("parsed_flags")

OVERRIDES = {
    "epochs": 2,
    "batch_size": 32,
    "steps_per_call": 3,
    "data.train_split": "train[:192]",
    "data.validation_split": "train[192:]",
    "model.layers": 2,
    "model.channels": (3, 4),
    "model.width": 2,
    "model.latent_channels": 1,
    # Some steps are left out.
    "optimizer.gradient_skip_norm": 4.1,
    "tensorboard.images_every_epochs": 0,
    "evaluation.num_samples": 4,
    "checkpoints.every_seconds": 0.0,
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    data = write_bars(tmp_path_factory.mktemp("data") / "bars.npz")
    return factory.resolve(
        factory.with_values(ladder.get_config(), {"data.name": str(data), **OVERRIDES})
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory, drawing_plots):
    """The folder of a whole run, the bits of its state, and its records."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with drawing_plots(rendered=False):
        return folder, *short_runs.trained(config, folder, (8, 8, 1))


def test_a_stopped_run_that_leaves_out_steps_is_bitwise_the_undisturbed_one(
    config, finished, tmp_path, monkeypatch
):
    short_runs.leave_unmeasured(monkeypatch)
    with monkeypatch.context() as patch:
        short_runs.stops_after(patch, 0)
        with pytest.raises(Interrupted):
            train.train(config, tmp_path / "stopped")
    assert list(short_runs.trained(config, tmp_path / "stopped", (8, 8, 1))) == list(finished[1:])


def test_the_records_have_the_rate_of_each_layer_and_the_share_of_skipped_steps(finished):
    records = read_records(finished[0] / "metrics.jsonl")
    for record in records:
        rates = [record[f"rate_layer_{layer}"] for layer in (1, 2)]
        assert sum(rates) == pytest.approx(record["rate"], rel=1e-4)
    shares = [record["skipped_share"] for record in records if record["split"] == "train"]
    assert 0 < np.mean(shares) < 1
    test = json.loads((finished[0] / "summary.json").read_text())["test"]
    assert sum(test["rate_by_layer"]) == pytest.approx(test["rate"], rel=1e-4)
    assert test["mutual_information"] is None


def test_its_plots_show_layers_and_temperatures(finished):
    drawn = {path.stem for path in (finished[0] / "plots").glob("*.png")}
    assert {"rates_by_layer", "samples_by_layer", "samples_by_temperature", "samples"} <= drawn


def test_its_samples_have_a_temperature(finished):
    model = vae_jax.load(finished[0])
    cold, warm = (
        samplers.sample_latents(model.prior, make_key(0), 50, temperature)
        for temperature in (1e-3, 1.0)
    )
    assert cold.shape == (50, model.latent_size)
    assert (cold.std(axis=0) < 0.1 * warm.std(axis=0)).all()
