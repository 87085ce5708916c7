"""A distribution that has all of its mass at one vector."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.distributions.base import Draw
from vae_jax.distributions.pytree import register_pytree


@register_pytree
@dataclasses.dataclass(frozen=True)
class PointMass:
    """The posterior of latents that are a function of the image: probability 1 at them.

    Attributes:
      mean: the latents, `[*batch, latents]`.
    """

    mean: Float[Array, "*batch latents"]

    def draw(self, noise: Float[Array, "*shape latents"]) -> Draw:
        """Return the latents for any noise, and log 1 = 0."""
        return Draw(jnp.broadcast_to(self.mean, noise.shape), jnp.zeros(noise.shape[:-1]))
