import jax.numpy as jnp
import pytest
from small_games import Game
from small_models import normal

from configs import vanilla
from vae_jax import config as factory
from vae_jax.config.overrides import with_values
from vae_jax.errors import UserError


def test_the_loss_weighs_the_terms_and_the_discrepancy():
    images = jnp.abs(jnp.sin(normal(3, 12, 3, 4, 1)))
    game = Game({"objective": {"name": "info"}, "batch_size": 12})
    loss, metrics = game(images, mmd_weight=50.0, alpha=0.25)
    expected = metrics["distortion"] + 0.75 * metrics["rate"] + 50 * metrics["mmd"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    loss, metrics = game(images, mmd_weight=0.0, alpha=0.0)
    assert float(loss) == pytest.approx(-float(metrics["elbo"]), rel=1e-5)


@pytest.mark.parametrize(
    ("setting", "value"), [("mmd_weight", -1.0), ("alpha", 1.5), ("bandwidth", 0.0)]
)
def test_values_out_of_bounds_are_refused_by_name(setting, value):
    with pytest.raises(UserError, match=rf"objective\.{setting}"):
        factory.resolve(
            with_values(vanilla.get_config(), {"objective": {"name": "info", setting: value}})
        )
