"""A trained model for notebooks and other programs: NumPy in, NumPy out, explicit keys."""

from vae_jax.config.stored import read_experiment
from vae_jax.trained.image_inputs import Conditions
from vae_jax.trained.images import TrainedModel
from vae_jax.trained.loading import from_form, load, load_images
from vae_jax.trained.modalities import TrainedMultimodal

__all__ = [
    "Conditions",
    "TrainedModel",
    "TrainedMultimodal",
    "from_form",
    "load",
    "load_images",
    "read_experiment",
]
