"""The normal likelihood whose training uses the best scale for the batch at hand."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.distributions.base import flatten_event
from vae_jax.distributions.normal import Normal

# Of the log-scale: a residual of 0, which a flat image can have, would have none.
_LOWEST = -8.0

# A square in place of log cosh would leave Adam, which divides by the size of past gradients, ever
# slower steps towards the optimum.
_STEEPNESS = 10


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OptimalScaleNormal(Normal):
    """Normals with one scale, whose log density is plain and whose gradient is sigma-VAE's.

    The loss of the optimal sigma-VAE (Rybkin et al. 2020, arXiv 2006.13202) takes for every batch
    the scale of the largest likelihood,

        sigma*^2 = mean over samples, images and pixels of (value - mean)^2,

    and so depends on the very images that it scores: no density of them, and no bound in
    evaluation. Here that scale acts on gradients alone. By its optimality the gradient of that loss
    in `mean` is the one at constant sigma*; `log_scale`, a parameter, gets a gradient of its own,
    that of log cosh(10 d) / 10 with d = log_scale - log sigma*: it follows the batches' optima, far
    from them by a gradient of size 1. The value of `log_prob` is that of a normal with scale
    exp(`log_scale`), everywhere and for every image.

    Where images are spread over devices by `jax.pmap`, each takes the optimum of its own share.

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
