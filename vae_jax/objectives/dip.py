"""DIP-VAE (Kumar et al. 2018, arXiv 1711.00848): latents without covariance."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions import Normal
from vae_jax.objectives.base import OBJECTIVES, Metrics, Scalar
from vae_jax.objectives.disentangling import Encoded, Penalized
from vae_jax.settings import Traced, one_of, register, traced


def covariance_penalty(
    covariance: Float[Array, "latents latents"], off_diagonal: Traced, diagonal: Traced
) -> Scalar:
    """Return off_diagonal sum_{i != j} C_ij^2 + diagonal sum_i (C_ii - 1)^2.

    DIP-VAE I and II of Kumar et al. 2018 (arXiv 1711.00848) apply it to different covariances.
    """
    variances = jnp.diagonal(covariance)
    off = covariance - jnp.diag(variances)
    return off_diagonal * jnp.square(off).sum() + diagonal * jnp.square(variances - 1).sum()


def covariance_of_means(posterior: Normal) -> Float[Array, "latents latents"]:
    """Return Cov_x(E[z|x]) over the batch, for DIP-VAE I."""
    deviations = posterior.mean - posterior.mean.mean(axis=0)
    return deviations.T @ deviations / len(deviations)


def covariance_of_latents(posterior: Normal) -> Float[Array, "latents latents"]:
    """Return Cov(z) of z ~ q(z) = E_x[Cov(z|x)] + Cov_x(E[z|x]) over the batch, for DIP-VAE II."""
    within = jnp.exp(2 * posterior.log_scale).mean(axis=0)
    return jnp.diag(within) + covariance_of_means(posterior)


@register(OBJECTIVES, "dip")
@dataclasses.dataclass(frozen=True)
class DIP(Penalized):
    """ELBO and a penalty of covariances off the identity (Kumar et al. 2018, arXiv 1711.00848)."""

    kind: str = one_of(
        "i", ["i", "ii"], "The covariance of the posterior means (i), or of the latents (ii)."
    )
    off_diagonal: Traced = traced(1.0, "Weight of the squared covariances.", at_least=0.0)
    diagonal: Traced = traced(1.0, "Weight of variances that are not 1.", at_least=0.0)

    def penalty(
        self, encoded: Encoded, key: Key[Array, ""], num_examples: int, **networks: Any
    ) -> tuple[Scalar, Metrics]:
        """Return the penalty of the covariance, also as a metric."""
        del key, num_examples, networks
        covariances = {"i": covariance_of_means, "ii": covariance_of_latents}
        covariance = covariances[self.kind](encoded.posterior)
        penalty = covariance_penalty(covariance, self.off_diagonal, self.diagonal)
        return penalty, {"covariance_penalty": penalty}
