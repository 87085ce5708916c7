"""Independent Laplace distributions: the likelihood behind the absolute error."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions.base import flatten_event
from vae_jax.distributions.pytree import register_pytree, static_field

_LOG_2 = math.log(2)


@register_pytree
@dataclasses.dataclass(frozen=True)
class Laplace:
    """Independent Laplace distributions: density exp(-|value - mean| / scale) / (2 scale).

    Attributes:
      mean: `[*batch, *event]`.
      log_scale: log of the scale, which is the mean absolute deviation; broadcasts to `mean`.
      event_ndim: number of trailing axes that make up one event.
    """

    mean: Float[Array, "..."]
    log_scale: Float[Array, "..."]
    event_ndim: int = static_field(default=1)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log density in nats, `[*batch]`."""
        residual = flatten_event(value - self.mean, self.event_ndim)
        log_scale = flatten_event(
            jnp.broadcast_to(self.log_scale, self.mean.shape), self.event_ndim
        )
        return (-jnp.abs(residual) * jnp.exp(-log_scale) - _LOG_2 - log_scale).sum(axis=-1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Return one reparameterised draw, differentiable in `mean` and `log_scale`."""
        noise = jax.random.laplace(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_scale) * noise
