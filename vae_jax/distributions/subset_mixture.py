"""Mixtures of independent normals, one mixture per example: joint posteriors."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from vae_jax.distributions.base import Draw
from vae_jax.distributions.normal import Normal
from vae_jax.distributions.pytree import register_pytree


@register_pytree
@dataclasses.dataclass(frozen=True)
class SubsetMixture:
    """sum_c weight_c N(value; mean_c, exp(log_scale_c)^2) for every example.

    With a single component it is that normal, exactly.

    Attributes:
      components: independent normals, `[components, *batch, latents]`.
      log_weights: log of weights that sum to 1, `[components, *batch]`; -inf for components that
        an example does not have.
    """

    components: Normal
    log_weights: Float[Array, "components *batch"]

    @property
    def mean(self) -> Float[Array, "*batch latents"]:
        """The expected value."""
        return (jnp.exp(self.log_weights)[..., None] * self.components.mean).sum(axis=0)

    def log_prob(self, value: Float[Array, "*shape latents"]) -> Float[Array, "*shape"]:
        """Return log density in nats at `[*samples, *batch, latents]`."""
        ndim = self.log_weights.ndim - 1
        value = jnp.expand_dims(value, -2 - ndim)
        return jax.nn.logsumexp(self.log_weights + self.components.log_prob(value), axis=-1 - ndim)

    def at(self, uniform: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
        """Return the index of the component at each quantile in [0, 1), `[*samples, *batch]`."""
        ends = jnp.cumsum(jnp.exp(self.log_weights), axis=0)
        # Rounding may leave the last end below 1; a component without weight is never chosen.
        ends = ends / ends[-1]
        ndim = self.log_weights.ndim - 1
        return (jnp.expand_dims(uniform, -1 - ndim) >= ends).sum(axis=-1 - ndim)

    def choose(self, key: Key[Array, ""]) -> Int[Array, "*batch"]:
        """Return the index of a random component for each example, drawn by the weights."""
        return self.at(jax.random.uniform(key, self.log_weights.shape[1:]))

    def of(self, chosen: Int[Array, "*shape"]) -> Normal:
        """Return the chosen components, `[*samples, *batch, latents]`."""
        # A masked sum and no gather, whose gradient is a scatter.
        ndim = self.log_weights.ndim - 1
        at = jnp.expand_dims(chosen, -1 - ndim)
        indices = jnp.arange(len(self.log_weights)).reshape(-1, *(1,) * ndim)
        is_chosen = (at == indices)[..., None]

        def pick(values: Array) -> Array:
            return jnp.where(is_chosen, values, 0).sum(axis=-2 - ndim)

        return Normal(pick(self.components.mean), pick(self.components.log_scale))

    def draw(self, noise: Float[Array, "*shape latents"], key: Key[Array, ""]) -> Draw:
        """Return draws and their log density in nats.

        A gradient flows through a component's mean and scale, not through its choice.

        Args:
          noise: standard normal, `[*samples, *batch, latents]`.
          key: key of the choice of components.
        """
        chosen = self.at(jax.random.uniform(key, noise.shape[:-1]))
        latents = self.of(chosen).draw(noise).latents
        return Draw(latents, self.log_prob(latents))
