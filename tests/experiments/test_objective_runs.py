"""Runs whose training has more state than that of a VAE, or whose model has other codes."""

import jax
import numpy as np
import pytest
from short_runs import leave_unmeasured, stops_after, trained
from small_codes import coded_config
from small_data import write_bars

import vae_jax
from configs import aae, gumbel, vae_gan, vanilla, wae
from experiments import train
from vae_jax import workdir
from vae_jax.applications.generation import samplers
from vae_jax.config.overrides import with_values
from vae_jax.errors import UserError
from vae_jax.training.loop import Interrupted
from vae_jax.training.records import TensorBoardWriter, read_records

KEY = jax.random.key(0)
SHAPE = (8, 8, 1)
SMALL = {
    "epochs": 2,
    "batch_size": 32,
    "steps_per_call": 3,
    "data.train_split": "train[:192]",
    "data.validation_split": "train[192:]",
    "data.binarization": "none",
    "tensorboard.images_every_epochs": 0,
}
NETWORK = {"model.latent_size": 2, "model.encoder.widths": (4,)}


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    return {"data.name": str(write_bars(tmp_path_factory.mktemp("data") / "bars.npz"))}


# An opponent; three players, two of which own parts of the model; averages without a gradient.
STATES = {
    "adversarial": {
        **NETWORK,
        "objective": {"name": "adversarial", "discriminator": {"widths": (4,), "updates": 2}},
    },
    "vae_gan": {
        **NETWORK,
        "evaluation.num_samples": 5,
        "objective": {
            "name": "vae_gan",
            "decoder": {"updates": 2},
            "discriminator": {"network": {"name": "conv", "channels": (3,), "kernel_size": 3}},
        },
    },
    "quantized": {},
}


def config_of(name, bars):
    base = {
        "adversarial": aae.get_config,
        "vae_gan": vae_gan.get_config,
        "quantized": lambda: coded_config(model_changes={"codes": (4, 4)}),
    }[name]()
    return with_values(base, {**SMALL, **bars, **STATES[name]})


@pytest.fixture(scope="module", params=STATES)
def whole(request, bars, tmp_path_factory):
    """Return the config, folder, state and records of a run that was not stopped, by its name."""
    config = config_of(request.param, bars)
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return request.param, config, folder, trained(config, folder, SHAPE)


def test_a_run_that_was_stopped_is_bitwise_the_run_that_was_not(whole, tmp_path, monkeypatch):
    _, config, _, expected = whole
    leave_unmeasured(monkeypatch)
    with monkeypatch.context() as patch:
        stops_after(patch, 1)
        with pytest.raises(Interrupted):
            train.train(config, tmp_path / "parts")
    assert trained(config, tmp_path / "parts", SHAPE) == expected


def test_records_and_summary_have_the_metrics_of_the_objective(whole):
    name, _, folder, (_, records) = whole
    assert {record["split"] for record in records} == {"train", "valid"}
    test = workdir.read_summary(folder)["test"]
    model = vae_jax.load(folder)
    if name == "quantized":
        assert all(record["perplexity"] >= 1 for record in records)
        assert all(0 < record["codes_used"] <= 1 for record in records)
        assert 1 <= test["perplexity"] <= test["codes_used"] * model.num_codes + 1e-6
        assert "elbo" not in test
        images = model.load_test().images[:5]
        decoded = model.decode(model.encode(images))
        np.testing.assert_allclose(decoded, model.reconstruct(images), rtol=1e-5, atol=1e-6)
        return
    steps = [record for record in records if record["split"] == "train"]
    assert all(record["discriminator_gradient_norm"] > 0 for record in steps)
    assert model.sample(KEY, 3).shape == (3, *SHAPE)
    assert model.has_density == (name == "vae_gan")
    if name == "vae_gan":
        assert test["elbo"] == pytest.approx(-test["rate"] - test["distortion"], rel=1e-4)
        assert test["iwae_bound"] >= test["elbo"] - 1e-3


def test_a_model_of_classes_is_measured_and_sampled_from_its_prior_alone(bars, tmp_path):
    sizes = {"model.latent_size": 6, "model.num_classes": 3, "model.encoder.widths": (5,)}
    config = with_values(
        gumbel.get_config(), {**SMALL, **bars, **sizes, "evaluation.num_samples": 5}
    )
    train.train(config, tmp_path / "run")
    records = read_records(tmp_path / "run" / "metrics.jsonl")
    assert {record["temperature"] <= 1 for record in records} == {True}
    test = workdir.read_summary(tmp_path / "run")["test"]
    assert test["iwae_bound"] >= test["elbo"] - 1e-3
    model = vae_jax.load(tmp_path / "run")
    assert model.sample(KEY, 3).shape == (3, *SHAPE)
    images = model.load_splits().train.images[:50]
    codes = model.encode(images)
    np.testing.assert_array_equal(codes.reshape(50, 2, 3).sum(axis=-1), 1)
    drawn = samplers.sample_latents(samplers.build("prior", model, images, KEY), KEY, 600)
    np.testing.assert_allclose(drawn.mean(axis=0), 1 / 3, atol=0.1)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert samplers.available(model) == ("prior",)
    with pytest.raises(UserError, match="sampler='mixture' fits a density to latents"):
        samplers.build("mixture", model, images, KEY)


@pytest.mark.plots
def test_a_wasserstein_autoencoder_moves_its_codes_to_the_prior_which_then_is_sampled(
    bars, tmp_path, unrendered
):
    changes = {**NETWORK, "model.encoder.widths": (5,), "objective.mmd_weight": 300.0}
    changes |= {"epochs": 25, "steps_per_call": 6}
    config = with_values(wae.get_config(), {**SMALL, **bars, **changes})
    train.train(config, tmp_path / "run")
    discrepancies = [r["mmd"] for r in read_records(tmp_path / "run" / "metrics.jsonl")]
    assert np.mean(discrepancies[-5:]) < 0.4 * discrepancies[0]
    assert (tmp_path / "run" / "plots" / "samples.png").is_file()
    model = vae_jax.load(tmp_path / "run")
    assert model.sample(KEY, 3).shape == (3, *SHAPE)
    images = model.load_splits().train.images
    for name in ("prior", "mixture"):
        drawn = samplers.sample_latents(samplers.build(name, model, images, KEY), KEY, 500)
        np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.6)


def test_the_images_of_an_epoch_use_the_state_that_it_learned_without_a_gradient(
    bars, tmp_path, monkeypatch
):
    written = {}
    monkeypatch.setattr(
        TensorBoardWriter,
        "write_images",
        lambda self, name, images, step: written.setdefault(name, np.asarray(images)),
    )
    # A model whose codes are centred by a running mean (tests/own_parts.py).
    changes = {"model": {"name": "own_parts:Centred", "decay": 0.75}}
    changes |= {"model.encoder.widths": (5,), "tensorboard.images_every_epochs": 2}
    config = with_values(vanilla.get_config(), {**SMALL, **bars, **changes})
    train.train(config, tmp_path / "run")
    model = vae_jax.load(tmp_path / "run")
    assert np.abs(np.asarray(model.extra["centre"][...])).max() > 1e-3
    assert workdir.read_summary(tmp_path / "run")["test"]["distortion"] > 0
    np.testing.assert_allclose(
        written["reconstructions"], model.reconstruct(written["originals"]), atol=1e-5
    )
