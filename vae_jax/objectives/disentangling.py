"""What disentangling objectives put beside the two terms of the bound, one function an equation.

All of these compare the examples of a batch with each other: none is a mean over examples, so that
a batch cannot be computed in parts.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions import Normal, kl_by_dimension, softplus
from vae_jax.models import VAE
from vae_jax.objectives.bounds import ElboTerms, Images, Scalar

Latents = Float[Array, "batch latents"]
# Latents to log D / (1 - D).
LogRatio = Callable[[Latents], Float[Array, " batch"]]


class Encoded(NamedTuple):
    """Prior, the posteriors of a batch, a draw of each, and the terms of the bound by these."""

    prior: Normal
    posterior: Normal
    latents: Latents
    terms: ElboTerms


def encode_normal(model: VAE, inputs: Images, targets: Images, key: Key[Array, ""]) -> Encoded:
    """`objectives.elbo_terms` by one draw, of a model with normal posterior and prior.

    Raises:
      TypeError: it has others.
    """
    posterior, prior = model.encode(inputs), model.prior
    if not (isinstance(posterior, Normal) and isinstance(prior, Normal)):
        raise TypeError("the posterior and the prior must be independent normals")
    latents = posterior.sample(key)
    log_likelihood = model.decode(latents).log_prob(targets)
    terms = ElboTerms(log_likelihood, kl_by_dimension(posterior, prior))
    return Encoded(prior, posterior, latents, terms)


def capacity_loss(terms: ElboTerms, gamma: Scalar, capacity: Scalar) -> Scalar:
    """Distortion + gamma |rate - C|, in nats (Burgess et al. 2018, arXiv 1804.03599, equation 8).

    C, in nats, rises linearly in training.
    """
    means = terms.means()
    return means["distortion"] + gamma * jnp.abs(means["rate"] - capacity)


def covariance_penalty(
    covariance: Float[Array, "latents latents"], off_diagonal: Scalar, diagonal: Scalar
) -> Scalar:
    """off_diagonal sum_{i != j} C_ij^2 + diagonal sum_i (C_ii - 1)^2.

    DIP-VAE I and II of Kumar et al. 2018 (arXiv 1711.00848), which differ in the covariance that
    they draw towards the identity.
    """
    variances = jnp.diagonal(covariance)
    off = covariance - jnp.diag(variances)
    return off_diagonal * jnp.square(off).sum() + diagonal * jnp.square(variances - 1).sum()


def covariance_of_means(posterior: Normal) -> Float[Array, "latents latents"]:
    """Cov_x(E[z|x]) over the batch: what DIP-VAE I draws towards the identity."""
    deviations = posterior.mean - posterior.mean.mean(axis=0)
    return deviations.T @ deviations / len(deviations)


def covariance_of_latents(posterior: Normal) -> Float[Array, "latents latents"]:
    """Cov(z) of z ~ q(z) = E_x[Cov(z|x)] + Cov_x(E[z|x]) over the batch, for DIP-VAE II."""
    within = jnp.exp(2 * posterior.log_scale).mean(axis=0)
    return jnp.diag(within) + covariance_of_means(posterior)


def permute_dimensions(latents: Latents, key: Key[Array, ""]) -> Latents:
    """Each dimension in an order of its own over the batch: draws of prod_j q(z_j).

    Algorithm 1 of Kim & Mnih 2018 (arXiv 1802.05983).
    """
    return jax.random.permutation(key, latents, axis=0, independent=True)


def density_ratio_total_correlation(log_ratio: LogRatio, latents: Latents) -> Scalar:
    """E[log D(z) / (1 - D(z))] over draws of q(z), in nats.

    KL(q(z) || prod_j q(z_j)) where D is the best discriminator (Kim & Mnih 2018, arXiv 1802.05983,
    equation 3).
    """
    return log_ratio(latents).mean()


def discriminator_loss(log_ratio: LogRatio, latents: Latents, key: Key[Array, ""]) -> Scalar:
    """-(E_q(z)[log D] + E_permuted[log(1 - D)]) / 2, in nats; log 2 of a guess.

    Algorithm 2 of Kim & Mnih 2018 (arXiv 1802.05983). Where the paper takes a second batch for what
    is permuted, the halves of one serve. An odd batch has its middle example in both.
    """
    half = (len(latents) + 1) // 2
    joint, product = latents[:half], permute_dimensions(latents[-half:], key)
    return 0.5 * (softplus(-log_ratio(joint)).mean() + softplus(log_ratio(product)).mean())
