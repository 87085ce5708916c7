import collections
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_data import write_bars
from small_games import Game
from small_models import normal

from configs import vanilla
from vae_jax import config as factory
from vae_jax.config.overrides import with_values
from vae_jax.errors import UserError
from vae_jax.objectives.info import maximum_mean_discrepancy
from vae_jax.sweeps import run, space
from vae_jax.sweeps.executors import LocalExecutor


def test_the_discrepancy_is_the_sum_over_pairs():
    a, b, bandwidth = np.asarray(normal(0, 5, 3)), np.asarray(normal(1, 5, 3)), 0.7

    def mean_kernel(u, v, same):
        pairs = [(i, j) for i in range(len(u)) for j in range(len(v)) if not (same and i == j)]
        distances = np.array([np.sum((u[i] - v[j]) ** 2) for i, j in pairs])
        return np.exp(-distances / (2 * 3 * bandwidth**2)).mean()

    expected = mean_kernel(a, a, True) + mean_kernel(b, b, True) - 2 * mean_kernel(a, b, False)
    assert float(
        maximum_mean_discrepancy(jnp.asarray(a), jnp.asarray(b), bandwidth)
    ) == pytest.approx(expected, rel=1e-5)


def test_the_discrepancy_has_mean_zero_for_one_density_and_grows_with_the_distance():
    pairs = normal(2, 2, 400, 16, 2)
    estimates = jax.vmap(lambda a, b: maximum_mean_discrepancy(a, b, 1.0))
    same = estimates(*pairs)
    assert abs(same.mean()) < 4 * same.std() / np.sqrt(len(same))
    shifted = [estimates(pairs[0], pairs[1] + shift).mean() for shift in (0.0, 0.5, 2.0)]
    assert shifted[0] < shifted[1] < shifted[2]


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


class Compilations(logging.Handler):
    """Counts the functions that JAX compiles, by name."""

    def __init__(self):
        super().__init__()
        self.counts = collections.Counter()

    def emit(self, record):
        words = record.getMessage().split()
        if words[0] == "Compiling":
            self.counts[words[1]] += 1


def test_a_sweep_over_the_weight_compiles_the_training_once(tmp_path, caplog):
    changes = {
        "epochs": 2,
        "batch_size": 32,
        "data.name": str(write_bars(tmp_path / "bars.npz")),
        "data.train_split": "train[:192]",
        "data.validation_split": "train[192:]",
        "model.encoder.widths": (4,),
        "model.latent_size": 2,
        "evaluation.num_samples": 5,
        "objective": {"name": "info"},
    }
    config = with_values(vanilla.get_config(), changes)
    sweep = space.grid({"objective.mmd_weight": (0.0, 10.0, 500.0)})
    compilations = Compilations()
    logging.getLogger("jax").addHandler(compilations)
    try:
        with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
            run.run_sweep(config, sweep, tmp_path / "sweep", LocalExecutor)
    finally:
        logging.getLogger("jax").removeHandler(compilations)
    assert compilations.counts["jit(run_steps)"] == compilations.counts["jit(validate)"] == 1
    assert len(list((tmp_path / "sweep" / "members").iterdir())) == 3
