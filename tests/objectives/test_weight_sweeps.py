import collections
import logging

import jax
import pytest
from small_data import write_bars

from configs import vanilla
from vae_jax.config.overrides import with_values
from vae_jax.sweeps import run, space


class Compilations(logging.Handler):
    """Counts the functions that JAX compiles, by name."""

    def __init__(self):
        super().__init__()
        self.counts = collections.Counter()

    def emit(self, record):
        words = record.getMessage().split()
        if words[0] == "Compiling":
            self.counts[words[1]] += 1


# The model and the swept weights of each objective.
SWEEPS = {
    "info": ("vae", {"objective.mmd_weight": (0.0, 10.0, 500.0)}),
    "gumbel": ("categorical", {"objective.temperature": (0.6, 1.0, 2.0)}),
    "wae": ("autoencoder", {"objective.mmd_weight": (0.0, 10.0, 500.0)}),
    "rae_gp": (
        "autoencoder",
        {"objective.latent_weight": (0.0, 1.0), "objective.decoder_weight": (0.0, 0.1)},
    ),
}


@pytest.mark.parametrize("objective", SWEEPS)
def test_a_sweep_over_the_weights_compiles_the_training_once(tmp_path, caplog, objective):
    model, weights = SWEEPS[objective]
    changes = {
        "epochs": 2,
        "batch_size": 32,
        "data.name": str(write_bars(tmp_path / "bars.npz")),
        "data.train_split": "train[:192]",
        "data.validation_split": "train[192:]",
        "model": {"name": model, "latent_size": 2, "encoder": {"name": "mlp", "widths": (4,)}},
        "objective": {"name": objective},
    }
    judged_by = "distortion"
    if model != "autoencoder":
        changes["evaluation.num_samples"], judged_by = 5, "elbo"
    config = with_values(vanilla.get_config(), changes)
    sweep = space.grid(weights, objective=judged_by)
    compilations = Compilations()
    logging.getLogger("jax").addHandler(compilations)
    try:
        with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
            run.run_sweep(config, sweep, tmp_path / "sweep")
    finally:
        logging.getLogger("jax").removeHandler(compilations)
    assert compilations.counts["jit(run_steps)"] == compilations.counts["jit(validate)"] == 1
    members = list((tmp_path / "sweep" / "members").iterdir())
    assert len(members) == (4 if len(weights) == 2 else 3)
