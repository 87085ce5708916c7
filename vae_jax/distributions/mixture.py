"""Mixtures of independent normals: learned priors."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions.normal import Normal
from vae_jax.distributions.pytree import register_pytree

_LOG_2PI = math.log(2 * math.pi)


@register_pytree
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
        """Return log density in nats.

        Nothing of size `[*batch, components, latents]` is made.
        """
        exponents = _exponents(value, self.means, self.log_scales)
        return jax.nn.logsumexp(exponents + self.log_weights, axis=-1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " latents"]:
        """Return one draw, differentiable in the component's mean and scale, not in its choice."""
        component_key, noise_key = jax.random.split(key)
        component = jax.random.categorical(component_key, self.log_weights)
        return Normal(self.means[component], self.log_scales[component]).sample(noise_key)


@jax.custom_jvp
def _exponents(
    value: Float[Array, "*batch latents"],
    means: Float[Array, "components latents"],
    log_scales: Float[Array, "components latents"],
) -> Float[Array, "*batch components"]:
    """Return the log density of each component, added up one dimension at a time."""

    def add_dimension(
        exponents: Float[Array, "*batch components"], dimension: tuple[Array, Array, Array]
    ) -> tuple[Float[Array, "*batch components"], None]:
        z, mean, log_scale = dimension
        standardised = (z[..., None] - mean) * jnp.exp(-log_scale)
        return exponents - 0.5 * jnp.square(standardised), None

    constants = -(log_scales + 0.5 * _LOG_2PI).sum(axis=-1)
    start = jnp.broadcast_to(constants, (*value.shape[:-1], len(constants)))
    dimensions = (jnp.moveaxis(value, -1, 0), means.T, log_scales.T)
    return jax.lax.scan(add_dimension, start, dimensions)[0]


def _multiplied_out(
    value: Float[Array, "*batch latents"],
    means: Float[Array, "components latents"],
    log_scales: Float[Array, "components latents"],
) -> Float[Array, "*batch components"]:
    """Return `_exponents` by one matrix product, which loses the digits of narrow components."""
    precisions = jnp.exp(-2 * log_scales)
    constants = -(0.5 * (jnp.square(means) * precisions + _LOG_2PI) + log_scales).sum(axis=-1)
    coefficients = jnp.concatenate([-0.5 * precisions, means * precisions], axis=-1)
    powers = jnp.concatenate([jnp.square(value), value], axis=-1)
    return jnp.matmul(powers, coefficients.T, precision=jax.lax.Precision.HIGHEST) + constants


@_exponents.defjvp
def _exponents_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    # Rounding is noise in a gradient; in a value it would pass for a better bound. The product is
    # ten times as fast as the gradient of the loop.
    return _exponents(*primals), jax.jvp(_multiplied_out, primals, tangents)[1]
