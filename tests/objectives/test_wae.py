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
