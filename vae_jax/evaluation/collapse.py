"""Whether a model uses its latents, and how well the prior fits them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.distributions import Normal

# Burda et al. 2015, section 5.
ACTIVITY_THRESHOLD = 0.01
# Nats below which a latent dimension counts as collapsed onto the prior.
COLLAPSE_THRESHOLD = 0.01

# Rows of the densities of all posteriors that are alive at once: they should stay in the cache.
_ROWS = 50


def active_units(posterior_mean: Float[np.ndarray, "examples latents"]) -> int:
    """Latent dimensions whose posterior mean varies over x by more than 0.01 (variance).

    A_u = Cov_x(E_{q(u|x)}[u]) of Burda et al. 2015 (arXiv 1509.00519, section 5).
    """
    return int((posterior_mean.var(axis=0) > ACTIVITY_THRESHOLD).sum())


def collapsed_share(kl_by_dimension: Float[np.ndarray, " latents"]) -> float:
    """Share of the latent dimensions whose mean KL from the prior is below 0.01 nats."""
    return float((kl_by_dimension < COLLAPSE_THRESHOLD).mean())


@jax.jit
def _log_aggregate_posterior(
    latents: Float[Array, "rows latents"], posterior: Normal
) -> Float[Array, " rows"]:
    """Log of (1/N) sum_n q(z|x_n) for each z."""

    # One dimension after another: no [rows, examples, latents] values, and no squares multiplied
    # out, which would cost the digits that matter where posteriors are narrow.
    def add_dimension(
        log_densities: Float[Array, "rows examples"], dimension: tuple[Array, Array, Array]
    ) -> tuple[Float[Array, "rows examples"], None]:
        z, mean, log_scale = dimension
        standardised = (z[:, None] - mean) * jnp.exp(-log_scale)
        return log_densities - 0.5 * jnp.square(standardised) - log_scale, None

    constant = -0.5 * latents.shape[1] * np.log(2 * np.pi)
    start = jnp.full((len(latents), len(posterior.mean)), constant, jnp.float32)
    dimensions = (latents.T, posterior.mean.T, posterior.log_scale.T)
    log_densities, _ = jax.lax.scan(add_dimension, start, dimensions)
    return jax.nn.logsumexp(log_densities, axis=1) - jnp.log(len(posterior.mean))


def mutual_information(posterior: Normal, key: Key[Array, ""]) -> float:
    """I(n; z) between the number n of an image and its latents, in nats.

    E[log q(z|x_n) - log q(z)] with q(z) = (1/N) sum_n q(z|x_n), by one draw an image (Hoffman &
    Johnson 2016, "ELBO surgery", the index-code mutual information). It is a figure of these N
    images, at most log N. The mean KL from the prior less this is KL(q(z) || p(z)).

    Args:
      posterior: of every image, over `[examples, latents]`.
      key: of the draws.
    """
    latents = posterior.sample(key)
    conditional = np.asarray(posterior.log_prob(latents), np.float64)
    aggregate = [
        np.asarray(_log_aggregate_posterior(latents[first : first + _ROWS], posterior))
        for first in range(0, len(latents), _ROWS)
    ]
    return float((conditional - np.concatenate(aggregate)).mean())
