import jax
import jax.numpy as jnp
import numpy as np
import pytest
from short_runs import leave_unmeasured, stops_after, trained
from small_configs import small_config
from small_data import write_bars
from small_games import KEY, Game
from small_models import normal

import vae_jax
from configs import wae
from experiments import train
from vae_jax import config as factory
from vae_jax.applications.generation import samplers
from vae_jax.errors import UserError
from vae_jax.objectives.codes import draw_codes
from vae_jax.objectives.discrepancy import maximum_mean_discrepancy
from vae_jax.objectives.wae import WAE
from vae_jax.training.loop import Interrupted
from vae_jax.training.records import read_records

MODELS = {"codes": {"name": "autoencoder"}, "posterior": {"name": "vae"}}


def game_of(model, **objective):
    changes = {"model": MODELS[model], "objective": {"name": "wae", **objective}}
    return Game({**changes, "batch_size": 12})


def config_of(folder, **changes):
    data = str(write_bars(folder / "bars.npz"))
    short = {"epochs": 4, "batch_size": 32, "steps_per_call": 6, "checkpoints.every_seconds": 0.0}
    splits = {"data.train_split": "train[:192]", "data.validation_split": "train[192:]"}
    sizes = {"model.latent_size": 2, "tensorboard.images_every_epochs": 0}
    base = wae.get_config()
    return small_config({"data.name": data, **short, **splits, **sizes, **changes}, base=base)


@pytest.mark.parametrize("model", MODELS)
def test_the_loss_weighs_the_distortion_and_the_discrepancy(model):
    images = jnp.abs(jnp.sin(normal(3, 12, 3, 4, 1)))
    game = game_of(model, kernel="rbf")
    loss, metrics = game(images, mmd_weight=50.0)
    expected = metrics["distortion"] + 50 * metrics["mmd"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    loss, metrics = game(images, mmd_weight=0.0)
    assert float(loss) == pytest.approx(float(metrics["distortion"]), rel=1e-6)


def test_the_metrics_are_those_of_the_codes():
    images = jnp.abs(jnp.sin(normal(3, 12, 3, 4, 1)))
    game = game_of("codes", scales=(0.5, 2.0))
    codes, drawn = draw_codes(game.model, images, jax.random.split(KEY, 3)[2])
    np.testing.assert_array_equal(codes, game.model.latents(images))
    metrics = game(images)[1]
    expected = maximum_mean_discrepancy(codes, drawn, game.config.objective.build_kernel())
    assert float(metrics["mmd"]) == pytest.approx(float(expected), rel=1e-4)
    assert float(metrics["squared_norm"]) == pytest.approx(np.square(codes).sum(1).mean(), rel=1e-5)


def test_one_scale_is_the_kernel_of_the_paper():
    a, b = normal(0, 1, 3), normal(1, 1, 3)
    square, width = float(jnp.square(a - b).sum()), 2 * 3
    kernel = WAE(scales=(1.0,)).build_kernel()
    assert float(kernel(a, b)[0, 0]) == pytest.approx(width / (width + square), rel=1e-5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("mmd_weight", -1.0), ("kernel", "cosine"), ("scales", ()), ("scales", (0.0,))],
)
def test_values_out_of_bounds_are_refused_by_name(setting, value):
    config = small_config({"objective": {"name": "wae", setting: value}})
    with pytest.raises(UserError, match=rf"objective\.{setting}"):
        factory.resolve(config)


@pytest.mark.plots
def test_training_moves_the_codes_to_the_prior_which_then_is_sampled(tmp_path):
    config = config_of(tmp_path, **{"epochs": 25, "objective.mmd_weight": 300.0})
    train.train(config, tmp_path / "run")
    discrepancies = [r["mmd"] for r in read_records(tmp_path / "run" / "metrics.jsonl")]
    assert np.mean(discrepancies[-5:]) < 0.4 * discrepancies[0]
    model = vae_jax.load(tmp_path / "run")
    assert model.sample(KEY, 3).shape == (3, 8, 8, 1)
    assert (tmp_path / "run" / "plots" / "samples.png").exists()
    images = model.load_splits().train.images
    for name in ("prior", "mixture"):
        drawn = samplers.sample_latents(samplers.build(name, model, images, KEY), KEY, 500)
        np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.6)


def test_a_stopped_run_is_continued_bitwise(tmp_path, monkeypatch):
    leave_unmeasured(monkeypatch)
    config = config_of(tmp_path)
    whole = trained(config, tmp_path / "whole", (8, 8, 1))
    with monkeypatch.context() as patch:
        stops_after(patch, 1)
        with pytest.raises(Interrupted):
            train.train(config, tmp_path / "parts")
    assert trained(config, tmp_path / "parts", (8, 8, 1)) == whole
