"""Mixtures of independent normals: learned priors."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions.normal import Normal

_LOG_2PI = math.log(2 * math.pi)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NormalMixture:
    """sum_k weight_k N(value; mean_k, exp(log_scale_k)^2), its components independent normals.

    Attributes:
      means: `[components, latents]`.
      log_scales: log standard deviations, `[components, latents]`.
      log_weights: log of weights that sum to 1, `[components]`.
    """

    means: Float[Array, "components latents"]
    log_scales: Float[Array, "components latents"]
    log_weights: Float[Array, " components"]

    @property
    def mean(self) -> Float[Array, " latents"]:
        """The expected value."""
        return jnp.exp(self.log_weights) @ self.means

    def log_prob(self, value: Float[Array, "*batch latents"]) -> Float[Array, "*batch"]:
        """Log density in nats.

        The squares are multiplied out, so that all components come from one matrix product and
        nothing of size `[*batch, components, latents]` is made. Rounding is relative to the
        squares of value / scale: keep the product in full float32 where the platform may not.
        """
        precisions = jnp.exp(-2 * self.log_scales)
        constants = self.log_weights - (
            0.5 * (jnp.square(self.means) * precisions + _LOG_2PI) + self.log_scales
        ).sum(axis=-1)
        coefficients = jnp.concatenate([-0.5 * precisions, self.means * precisions], axis=-1)
        powers = jnp.concatenate([jnp.square(value), value], axis=-1)
        exponents = jnp.matmul(powers, coefficients.T, precision=jax.lax.Precision.HIGHEST)
        return jax.nn.logsumexp(exponents + constants, axis=-1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " latents"]:
        """One draw; a gradient flows through the component's mean and scale, not its choice."""
        component_key, noise_key = jax.random.split(key)
        component = jax.random.categorical(component_key, self.log_weights)
        return Normal(self.means[component], self.log_scales[component]).sample(noise_key)
