"""Independent normals, and the divergence between them."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions.base import Draw, flatten_event, sum_event
from vae_jax.distributions.pytree import register_pytree, static_field

_LOG_2PI = math.log(2 * math.pi)


@register_pytree
@dataclasses.dataclass(frozen=True)
class Normal:
    """Independent normals: density N(value; mean, exp(log_scale)^2) per element.

    Attributes:
      mean: `[*batch, *event]`.
      log_scale: log standard deviation, any shape that broadcasts to `mean`.
      event_ndim: number of trailing axes that make up one event.
    """

    mean: Float[Array, "..."]
    log_scale: Float[Array, "..."]
    event_ndim: int = static_field(default=1)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log density in nats, `[*batch]`."""
        residual = flatten_event(value - self.mean, self.event_ndim)
        log_scale = self.log_scale
        if log_scale.ndim > 0:
            log_scale = flatten_event(jnp.broadcast_to(log_scale, self.mean.shape), self.event_ndim)
        standardised = residual * jnp.exp(-log_scale)
        return (-0.5 * (jnp.square(standardised) + _LOG_2PI) - log_scale).sum(axis=-1)

    def log_prob_by_dimension(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log density of each element in nats, `[*batch, *event]`: its sum is `log_prob`."""
        standardised = (value - self.mean) * jnp.exp(-self.log_scale)
        return -0.5 * (jnp.square(standardised) + _LOG_2PI) - self.log_scale

    def draw(self, noise: Float[Array, "..."]) -> Draw:
        """Return mean + scale * noise, reparameterised, and its log density.

        Args:
          noise: standard normal, `[*samples, *batch, *event]`.
        """
        log_prob = sum_event(
            -0.5 * (jnp.square(noise) + _LOG_2PI) - self.log_scale, self.event_ndim
        )
        return Draw(self.mean + jnp.exp(self.log_scale) * noise, log_prob)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Return one reparameterised draw, differentiable in `mean` and `log_scale`."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_scale) * noise

    def tempered(self, temperature: float | Float[Array, ""]) -> "Normal":
        """Return the normals with the standard deviations times `temperature`."""
        log_scale = self.log_scale + jnp.log(jnp.float32(temperature))
        return dataclasses.replace(self, log_scale=log_scale)


def kl_by_dimension(q: Normal, p: Normal) -> Float[Array, "..."]:
    """Return KL(q || p) per element in nats, `[*batch, *event]`."""
    difference = (q.mean - p.mean) * jnp.exp(-p.log_scale)
    log_ratio = q.log_scale - p.log_scale
    return 0.5 * (jnp.square(difference) + jnp.expm1(2 * log_ratio)) - log_ratio


def kl_divergence(q: Normal, p: Normal) -> Float[Array, "..."]:
    """Return KL(q || p) in nats, `[*batch]` (Kingma & Welling 2013, appendix B)."""
    return sum_event(kl_by_dimension(q, p), q.event_ndim)
