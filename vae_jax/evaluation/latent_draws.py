"""Latents of images as training sees them: a draw from each image's posterior."""

import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.trained import TrainedModel


def draw_latents(
    model: TrainedModel, images: np.ndarray, key: Key[Array, ""]
) -> Float[np.ndarray, "num latents"]:
    """Return a draw from each image's posterior; `latents` where that is not a diagonal normal."""
    if not model.has_normal_posterior:
        return model.latents(images)
    return np.asarray(model.posterior(images).sample(key))
