"""Distributions of counts 0, 1, 2 ..., each element independent of the others."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Key

from vae_jax.distributions.base import softplus
from vae_jax.distributions.pytree import register_pytree


@register_pytree
@dataclasses.dataclass(frozen=True)
class Poisson:
    """Poissons by the log of their mean.

    Attributes:
      log_mean: `[*batch, event]`.
    """

    log_mean: Float[Array, "*batch event"]

    @property
    def mean(self) -> Float[Array, "*batch event"]:
        """The expected count."""
        return jnp.exp(self.log_mean)

    def log_prob_by_dimension(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability of each element in nats: their sum is that of the event."""
        return value * self.log_mean - jnp.exp(self.log_mean) - gammaln(value + 1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch event"]:
        """Return one draw (no gradient flows through it)."""
        return jax.random.poisson(key, self.mean).astype(jnp.float32)


@register_pytree
@dataclasses.dataclass(frozen=True)
class NegativeBinomial:
    """Poissons whose mean is drawn from a gamma: the variance is mean + mean^2 / size.

    Attributes:
      log_mean: `[*batch, event]`.
      log_size: log of the gamma's shape, which broadcasts to `log_mean`; towards infinity the
        distribution becomes a Poisson.
    """

    log_mean: Float[Array, "*batch event"]
    log_size: Float[Array, "..."]

    @property
    def mean(self) -> Float[Array, "*batch event"]:
        """The expected count."""
        return jnp.exp(self.log_mean)

    def log_prob_by_dimension(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability of each element in nats: their sum is that of the event."""
        size = jnp.exp(self.log_size)
        log_total = jnp.logaddexp(self.log_size, self.log_mean)
        return (
            gammaln(value + size)
            - gammaln(size)
            - gammaln(value + 1)
            + size * (self.log_size - log_total)
            + value * (self.log_mean - log_total)
        )

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch event"]:
        """Return one draw (no gradient flows through it)."""
        rate_key, count_key = jax.random.split(key)
        size = jnp.broadcast_to(jnp.exp(self.log_size), self.log_mean.shape)
        rate = jax.random.gamma(rate_key, size) * jnp.exp(self.log_mean) / size
        return jax.random.poisson(count_key, rate).astype(jnp.float32)


@register_pytree
@dataclasses.dataclass(frozen=True)
class ZeroInflatedNegativeBinomial:
    """Negative binomials, and a further probability of zero (Lopez et al. 2018, scVI).

    Attributes:
      counts: the negative binomials.
      zero_logits: logits of a zero whatever the count is, `[*batch, event]`.
    """

    counts: NegativeBinomial
    zero_logits: Float[Array, "*batch event"]

    @property
    def log_mean(self) -> Float[Array, "*batch event"]:
        """Log of the mean of the negative binomials."""
        return self.counts.log_mean

    @property
    def mean(self) -> Float[Array, "*batch event"]:
        """The expected count."""
        return jax.nn.sigmoid(-self.zero_logits) * self.counts.mean

    def log_prob_by_dimension(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability of each element in nats: their sum is that of the event."""
        log_not_inflated = -softplus(self.zero_logits)
        counted = log_not_inflated + self.counts.log_prob_by_dimension(value)
        inflated = self.zero_logits + log_not_inflated
        return jnp.where(value == 0, jnp.logaddexp(counted, inflated), counted)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch event"]:
        """Return one draw (no gradient flows through it)."""
        zero_key, count_key = jax.random.split(key)
        zero = jax.random.bernoulli(zero_key, jax.nn.sigmoid(self.zero_logits))
        return jnp.where(zero, 0, self.counts.sample(count_key))
