"""Codes of a batch and draws of their prior, for objectives that match the two."""

from typing import Any

import jax
from jaxtyping import Array, Float, Key

from vae_jax.objectives.base import Images
from vae_jax.objectives.bounds import draw_noise, draw_prior

Latents = Float[Array, "batch latents"]


def draw_codes(model: Any, inputs: Images, key: Key[Array, ""]) -> tuple[Latents, Latents]:
    """Return a code of each image, and as many draws of the prior.

    A model without a posterior gives its codes, and N(0, I) is their prior.
    """
    noise_key, prior_key = jax.random.split(key)
    num = len(inputs)
    if not model.has_density:
        return model.latents(inputs), jax.random.normal(prior_key, (num, model.latent_size))
    latents = model.encode(inputs).draw(draw_noise(model, 1, num, noise_key)).latents[0]
    return latents, draw_prior(model, num, prior_key)
