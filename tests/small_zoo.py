"""A zoo that is trained and measured quickly, on the images of small_data.py."""

import dataclasses

from small_configs import small_config

from vae_jax.objectives.reconstruction import Reconstruction
from vae_jax.settings import text
from vae_jax.zoo.families import Family, Zoo

_AUTOENCODER = {"name": "autoencoder", "latent_size": 2, "encoder": {"name": "mlp", "widths": (6,)}}


@dataclasses.dataclass(frozen=True)
class AfterFirstStage(Reconstruction):
    """The loss of a second stage, which knows the workdir of the first one."""

    first_stage: str = text("", "Workdir of the first stage.", may_be_empty=False)


def small_zoo(**families):
    """Return a zoo of a VAE and of an autoencoder in two stages, and of further families."""
    changes = {
        "epochs": 1,
        "batch_size": 32,
        "data.train_split": "train[:128]",
        "data.validation_split": "",
    }
    staged = Family(
        "staged",
        {"model": _AUTOENCODER, "objective": {"name": "reconstruction"}},
        second_stage=lambda folder: {
            "model": _AUTOENCODER,
            "objective": {"name": "small_zoo:AfterFirstStage", "first_stage": folder},
        },
    )
    return Zoo(
        small_config(changes, widths=(6,), latent_size=2),
        {"vae": Family("VAE", {}), "staged": staged, **families},
    )


def get_zoo():
    """Return the zoo, as a file does."""
    return small_zoo()
