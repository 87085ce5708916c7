"""Student's t, a likelihood of real numbers that outliers hardly move."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Key

from vae_jax.distributions.pytree import register_pytree


@register_pytree
@dataclasses.dataclass(frozen=True)
class StudentT:
    """Independent Student's t by location, log-scale and degrees of freedom.

    Attributes:
      mean: the location, which is the mean with more than one degree of freedom; `[*batch, event]`.
      log_scale: which broadcasts to `mean`.
      degrees: degrees of freedom, above 1, which broadcast to `mean`.
    """

    mean: Float[Array, "*batch event"]
    log_scale: Float[Array, "..."]
    degrees: Float[Array, "..."]

    def log_prob_by_dimension(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log density of each element in nats: their sum is that of the event."""
        standardised = (value - self.mean) * jnp.exp(-self.log_scale)
        half = 0.5 * (self.degrees + 1)
        normaliser = gammaln(half) - gammaln(0.5 * self.degrees)
        normaliser -= 0.5 * jnp.log(math.pi * self.degrees) + self.log_scale
        return normaliser - half * jnp.log1p(jnp.square(standardised) / self.degrees)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch event"]:
        """Return one draw."""
        degrees = jnp.broadcast_to(self.degrees, self.mean.shape)
        noise = jax.random.t(key, degrees, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_scale) * noise
