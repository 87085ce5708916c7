import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_configs import small_config
from small_games import KEY, Game
from small_models import normal

from vae_jax import config as factory
from vae_jax.errors import UserError
from vae_jax.objectives.codes import draw_codes
from vae_jax.objectives.discrepancy import maximum_mean_discrepancy
from vae_jax.objectives.wae import WAE

MODELS = {"codes": {"name": "autoencoder"}, "posterior": {"name": "vae"}}


def game_of(model, **objective):
    changes = {"model": MODELS[model], "objective": {"name": "wae", **objective}}
    return Game({**changes, "batch_size": 12})


@pytest.mark.parametrize("model", MODELS)
def test_the_loss_weighs_the_distortion_and_the_discrepancy(model):
    images = jnp.asarray(np.random.default_rng(3).random((12, 3, 4, 1), np.float32))
    game = game_of(model, kernel="rbf")
    loss, metrics = game(images, mmd_weight=50.0)
    expected = float(metrics["distortion"]) + 50 * float(metrics["mmd"])
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    loss, metrics = game(images, mmd_weight=0.0)
    assert float(loss) == pytest.approx(float(metrics["distortion"]), rel=1e-6)


def test_the_metrics_are_those_of_the_codes():
    images = jnp.asarray(np.random.default_rng(3).random((12, 3, 4, 1), np.float32))
    game = game_of("codes", scales=(0.5, 2.0))

    @jax.jit
    def expected():
        codes, drawn = draw_codes(game.model, images, jax.random.split(KEY, 3)[2])
        kernel = game.config.objective.build_kernel()
        return codes, game.model.latents(images), maximum_mean_discrepancy(codes, drawn, kernel)

    codes, latents, discrepancy = map(np.asarray, expected())
    np.testing.assert_array_equal(codes, latents)
    metrics = game(images)[1]
    assert float(metrics["mmd"]) == pytest.approx(float(discrepancy), rel=1e-4)
    assert float(metrics["squared_norm"]) == pytest.approx(np.square(codes).sum(1).mean(), rel=1e-5)


def test_one_scale_is_the_kernel_of_the_paper():
    a, b = normal(0, 1, 3), normal(1, 1, 3)
    square, width = float(np.square(np.asarray(a) - np.asarray(b)).sum()), 2 * 3
    kernel = jax.jit(WAE(scales=(1.0,)).build_kernel())
    assert float(kernel(a, b)[0, 0]) == pytest.approx(width / (width + square), rel=1e-5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("mmd_weight", -1.0), ("kernel", "cosine"), ("scales", ()), ("scales", (0.0,))],
)
def test_values_out_of_bounds_are_refused_by_name(setting, value):
    config = small_config({"objective": {"name": "wae", setting: value}})
    with pytest.raises(UserError, match=rf"objective\.{setting}"):
        factory.resolve(config)
