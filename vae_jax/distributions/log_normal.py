"""Log-normals, the likelihood of numbers above 0."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions.pytree import register_pytree

_LOG_2PI = math.log(2 * math.pi)
# Values with a larger log, which only a row far from all training rows leads to, are drawn in: in
# float32 they would be infinite, and so would sums of them.
_LARGEST_LOG = 80.0


@register_pytree
@dataclasses.dataclass(frozen=True)
class LogNormal:
    """Numbers whose logs are independent normals.

    Attributes:
      log_median: mean of the log, `[*batch, event]`.
      log_scale: log standard deviation of the log, which broadcasts to `log_median`.
    """

    log_median: Float[Array, "*batch event"]
    log_scale: Float[Array, "..."]

    @property
    def mean(self) -> Float[Array, "*batch event"]:
        """The expected value."""
        return _finite_exp(self.log_median + 0.5 * jnp.exp(2 * self.log_scale))

    def log_prob_by_dimension(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log density of each element in nats: their sum is that of the event."""
        log_value = jnp.log(value)
        standardised = (log_value - self.log_median) * jnp.exp(-self.log_scale)
        return -0.5 * (jnp.square(standardised) + _LOG_2PI) - self.log_scale - log_value

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch event"]:
        """Return one reparameterised draw."""
        noise = jax.random.normal(key, self.log_median.shape, self.log_median.dtype)
        return _finite_exp(self.log_median + jnp.exp(self.log_scale) * noise)


def _finite_exp(log: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.exp(jnp.minimum(log, _LARGEST_LOG))
