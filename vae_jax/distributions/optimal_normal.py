"""The normal likelihood that trains with the best scale for each batch."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.distributions.base import flatten_event
from vae_jax.distributions.normal import Normal
from vae_jax.distributions.pytree import register_pytree

# Lower bound of the optimal log-scale: for a residual of 0, as of a flat image, it is -infinity.
_LOWEST = -8.0

# The scale's loss is log cosh and not a square: Adam divides by the size of past gradients, and
# after the large ones of a square would approach the optimum ever more slowly.
_STEEPNESS = 10


@register_pytree
@dataclasses.dataclass(frozen=True)
class OptimalScaleNormal(Normal):
    """Normals with one scale: a plain log density with the gradient of the optimal sigma-VAE.

    The optimal sigma-VAE (Rybkin et al. 2020, arXiv 2006.13202) uses for every batch the scale
    that maximises its likelihood,

        sigma*^2 = mean over samples, images and pixels of (value - mean)^2.

    That loss depends on the images that it scores: it is no density, and no bound in evaluation.
    Here sigma* acts on gradients alone. The gradient in `mean` is that of a normal with constant
    scale sigma*; since sigma* is optimal, it is the gradient of that loss. `log_scale` is a
    parameter with the gradient of log cosh(10 d) / 10, where d = log_scale - log sigma*: it
    follows the optima of the batches, and its gradient has size 1 far from them. The value of
    `log_prob` is that of a normal with scale exp(`log_scale`), everywhere and for every image.

    Under `jax.pmap` each device uses the optimum of its own images.

    Attributes:
      log_scale: a scalar.
    """

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log density in nats, `[*batch]`; see above for its gradient."""
        residual = flatten_event(value - self.mean, self.event_ndim)
        return _log_density(residual, self.log_scale)


@jax.custom_jvp
def _log_density(
    residual: Float[Array, "*batch event"], log_scale: Float[Array, ""]
) -> Float[Array, "*batch"]:
    return Normal(jnp.zeros_like(residual), log_scale).log_prob(residual)


@_log_density.defjvp
def _log_density_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    residual, log_scale = primals
    d_residual, d_log_scale = tangents
    mean_square = jnp.square(residual).mean()
    optimum = 0.5 * jnp.log(jnp.maximum(mean_square, math.exp(2 * _LOWEST)))
    by_residual = -(residual * d_residual).sum(axis=-1) * jnp.exp(-2 * optimum)
    by_log_scale = jnp.tanh(_STEEPNESS * (optimum - log_scale)) * d_log_scale
    return _log_density(residual, log_scale), by_residual + by_log_scale
