"""Sweeps over the weights of objectives: the members share a program."""

import collections
import logging

import jax
import pytest
from small_data import write_bars

from configs import vanilla
from vae_jax import config as factory
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


# The model and the weights of each objective.
WEIGHTS = {
    "info": ("vae", {"mmd_weight"}),
    "gumbel": ("categorical", {"temperature", "beta"}),
    "wae": ("autoencoder", {"mmd_weight"}),
    "rae_l2": ("autoencoder", {"latent_weight", "decoder_weight"}),
    "rae_gp": ("autoencoder", {"latent_weight", "decoder_weight"}),
    "adversarial": ("vae", {"weight", "discriminator.learning_rate"}),
}


def config_of(objective, **changes):
    model, _ = WEIGHTS[objective]
    small = {
        "epochs": 1,
        "batch_size": 32,
        "model": {"name": model, "latent_size": 2, "encoder": {"name": "mlp", "widths": (4,)}},
        "objective": {"name": objective},
    }
    if model != "autoencoder":
        small["evaluation.num_samples"] = 5
    return with_values(vanilla.get_config(), {**small, **changes})


@pytest.mark.parametrize("objective", WEIGHTS)
def test_weights_enter_the_compiled_training_as_arrays(objective):
    traced = factory.resolve(config_of(objective)).hparams
    assert {f"objective.{name}" for name in WEIGHTS[objective][1]} <= set(traced)


# A model with a bound and an opponent, and one without a bound.
@pytest.mark.parametrize(
    ("objective", "weight", "judged_by"),
    [("adversarial", "weight", "elbo"), ("rae_gp", "latent_weight", "distortion")],
)
def test_a_sweep_over_a_weight_compiles_the_training_once(
    tmp_path, caplog, objective, weight, judged_by
):
    config = config_of(
        objective,
        **{
            "data.name": str(write_bars(tmp_path / "bars.npz")),
            "data.train_split": "train[:192]",
            "data.validation_split": "train[192:]",
        },
    )
    sweep = space.grid({f"objective.{weight}": (0.0, 10.0)}, objective=judged_by)
    compilations = Compilations()
    logging.getLogger("jax").addHandler(compilations)
    try:
        with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
            run.run_sweep(config, sweep, tmp_path / "sweep")
    finally:
        logging.getLogger("jax").removeHandler(compilations)
    assert compilations.counts["jit(run_steps)"] == compilations.counts["jit(validate)"] == 1
    assert len(list((tmp_path / "sweep" / "members").iterdir())) == 2
