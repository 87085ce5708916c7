"""Posterior collapse and the aggregate posterior: does a model use its latents?"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vae_jax.distributions import Normal
from vae_jax.evaluation.full_batches import full_batches
from vae_jax.evaluation.streamed_means import LogMeanExp
from vae_jax.models import DensityModel
from vae_jax.models.interfaces import TractablePosterior
from vae_jax.networks.precision import full_precision

# Burda et al. 2015, section 5.
ACTIVITY_THRESHOLD = 0.01
# Nats below which a latent dimension counts as collapsed onto the prior.
COLLAPSE_THRESHOLD = 0.01

# Latent vectors whose densities under all posteriors are alive at once: they should stay in the
# cache.
_ROWS = 50
# Latents that are drawn where a density takes a network, and images per compiled call.
_MOST_DRAWS = 1000
_BATCH_SIZE = 500


def active_units(
    posterior_mean: Float[np.ndarray, "examples latents"],
    mean_variance: Float[np.ndarray, "examples latents"],
) -> int | None:
    """Return the number of latents whose posterior mean has a variance over x above 0.01.

    A_u = Cov_x(E_{q(u|x)}[u]) of Burda et al. 2015 (arXiv 1509.00519, section 5).

    Args:
      posterior_mean: E[z|x] of each image.
      mean_variance: its variance where it was estimated from samples. It would count as activity
        and is subtracted.

    Returns:
      None where the means are single samples, so that their variance is not known.
    """
    if np.isnan(mean_variance).any():
        return None
    activity = posterior_mean.var(axis=0) - mean_variance.mean(axis=0)
    return int((activity > ACTIVITY_THRESHOLD).sum())


def collapsed_share(kl_by_dimension: Float[np.ndarray, " latents"]) -> float:
    """Return the share of the latent dimensions whose mean KL from the prior is below 0.01 nats."""
    return float((kl_by_dimension < COLLAPSE_THRESHOLD).mean())


class AggregatePosterior(NamedTuple):
    """Statistics of q(z) = (1/N) sum_n q(z|x_n), in nats.

    The mean KL from a standard prior is the sum of these two and sum_j KL(q(z_j) || p(z_j)).

    Attributes:
      mutual_information: I(n; z) = E[KL(q(z|x_n) || q(z))], at most log N.
      leave_one_out: an upper bound on I(x; z), with no cap.
      total_correlation: KL(q(z) || prod_j q(z_j)).
    """

    mutual_information: float
    leave_one_out: float
    total_correlation: float


@jax.jit
def _sample(
    posterior: Normal, key: Key[Array, ""]
) -> tuple[Float[Array, "examples latents"], Float[Array, " examples"]]:
    """Return one draw of each image's posterior, and log q(z|x) there."""
    latents = posterior.sample(key)
    return latents, posterior.log_prob(latents)


@jax.jit
def _log_aggregates(
    latents: Float[np.ndarray | Array, "rows latents"],
    own: Int[np.ndarray | Array, " rows"],
    posterior: Normal,
) -> tuple[Float[Array, " rows"], Float[Array, " rows"], Float[Array, " rows"]]:
    """Return log q(z) of each z, log prod_j q(z_j), and log q(z) without its own image's posterior.

    Args:
      latents: a draw from the posteriors of some images.
      own: the indices of these images.
      posterior: of every image.
    """

    # One dimension after another: no array of [rows, examples, latents], and no expanded squares,
    # which would lose the digits that matter where posteriors are narrow.
    def add_dimension(
        sums: tuple[Float[Array, "rows examples"], Float[Array, " rows"]],
        dimension: tuple[Array, Array, Array],
    ) -> tuple[tuple[Float[Array, "rows examples"], Float[Array, " rows"]], None]:
        (log_densities, log_product), (z, mean, log_scale) = sums, dimension
        standardised = (z[:, None] - mean) * jnp.exp(-log_scale)
        # In one dimension the sum needs no log-sum-exp: z was drawn from one of these normals,
        # whose density there is far from underflow.
        density = jnp.exp(-0.5 * jnp.square(standardised) - log_scale).mean(axis=1)
        log_densities = log_densities - 0.5 * jnp.square(standardised) - log_scale
        return (log_densities, log_product + jnp.log(density)), None

    constant = -0.5 * latents.shape[1] * np.log(2 * np.pi)
    start = (
        jnp.full((len(latents), len(posterior.mean)), constant, jnp.float32),
        jnp.full(len(latents), constant, jnp.float32),
    )
    dimensions = (jnp.asarray(latents).T, posterior.mean.T, posterior.log_scale.T)
    (log_densities, log_product), _ = jax.lax.scan(add_dimension, start, dimensions)
    num = len(posterior.mean)
    log_joint = jax.nn.logsumexp(log_densities, axis=1) - jnp.log(num)
    others = log_densities.at[jnp.arange(len(latents)), own].set(-jnp.inf)
    log_others = jax.nn.logsumexp(others, axis=1) - jnp.log(num - 1)
    return log_joint, log_product, log_others


def aggregate_posterior(posterior: Normal, key: Key[Array, ""]) -> AggregatePosterior:
    """Return the mutual information of images and latents, and the latents' total correlation.

    E[log q(z|x_n) - log q(z)] (Hoffman & Johnson 2016, "ELBO surgery", the index-code mutual
    information) and E[log q(z) - sum_j log q(z_j)] (Chen et al. 2018, arXiv 1802.04942, equation
    2), with one draw per image. Both depend on these N images: where the mutual information nears
    log N, the q(z) of N images is a set of peaks, which make up most of the total correlation.

    The mixture without the posterior that z was drawn from gives an upper bound on I(x; z) (Poole
    et al. 2019, arXiv 1905.06922, equation 13).

    Args:
      posterior: of every image, over `[examples, latents]`.
      key: of the draws.
    """
    latents, log_densities = _sample(posterior, key)
    conditional = np.asarray(log_densities, np.float64)
    drawn = np.asarray(latents)
    parts = [
        np.asarray(_log_aggregates(drawn[some], some, posterior), np.float64)
        for some in np.split(np.arange(len(latents)), range(_ROWS, len(latents), _ROWS))
    ]
    joint, product, others = np.concatenate(parts, axis=1)
    return AggregatePosterior(
        mutual_information=float((conditional - joint).mean()),
        leave_one_out=float((conditional - others).mean()),
        total_correlation=float((joint - product).mean()),
    )


def is_at_cap(mutual_information: float, num_examples: int) -> bool:
    """Return whether an estimate of I(n; z) in nats says little more than log N.

    It is so from log(N / 2) on: a draw tells more than half of the N images apart, and I(x; z) may
    be of any size above.
    """
    return bool(mutual_information >= np.log(num_examples / 2))


def mutual_information(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    targets: Float[np.ndarray, "examples height width channels"],
    key: Key[Array, ""],
) -> float:
    """Return I(n; z) = E[log q(z|x_n) - log q(z)] in nats, of any posterior that has a `log_prob`.

    It takes one draw of each of the first 1,000 images; q(z) is the mixture over all images.

    Args:
      graphdef: the model without its parameters.
      params: its parameters.
      targets: the images as the model sees them.
      key: of the draws.
    """
    latents, conditional = _draw(graphdef, params, jnp.asarray(targets[:_MOST_DRAWS]), key)
    aggregate = LogMeanExp.empty(conditional.shape)
    for rows, num_done in full_batches(len(targets), _BATCH_SIZE):
        densities = _log_densities(graphdef, params, jnp.asarray(targets[rows]), latents)
        aggregate = aggregate.add(densities, jnp.arange(len(densities)) >= num_done)
    difference = conditional - aggregate.result(len(targets))
    return float(np.asarray(difference, np.float64).mean())


@functools.partial(jax.jit, static_argnames="graphdef")
@full_precision
def _draw(
    graphdef: nnx.GraphDef, params: nnx.State, images: Array, key: Key[Array, ""]
) -> tuple[Float[Array, "draws latents"], Float[Array, " draws"]]:
    """Return one latent vector of each image, and log q(z|x) there."""
    model: DensityModel = nnx.merge(graphdef, params)
    posterior = model.encode(images)
    assert isinstance(posterior, TractablePosterior)
    latents = posterior.draw(jax.random.normal(key, (len(images), model.noise_size))).latents
    # Not the density that `draw` returns: z must be rounded here as it is in the mixture.
    return latents, posterior.log_prob(latents)


@functools.partial(jax.jit, static_argnames="graphdef")
@full_precision
def _log_densities(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    images: Array,
    latents: Float[Array, "draws latents"],
) -> Float[Array, "images draws"]:
    """Return log q(z|x) of each z and each image."""
    model: DensityModel = nnx.merge(graphdef, params)
    posterior = model.encode(images)
    assert isinstance(posterior, TractablePosterior)
    # One z for all images: what a posterior computes from z alone is computed once.
    densities = jax.lax.map(lambda z: posterior.log_prob(z[None]), latents, batch_size=_ROWS)
    return densities.T
