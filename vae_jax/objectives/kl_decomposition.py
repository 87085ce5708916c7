"""The KL to the prior in three parts, estimated from a minibatch. Nats.

With q(z) = (1/N) sum_n q(z|x_n) of the N training examples (Chen et al. 2018, arXiv 1802.04942,
equation 2), at a draw z of q(z|x_n):

    log q(z|x_n) - log p(z) = log q(z|x_n) - log q(z)           [index-code mutual information]
                            + log q(z) - sum_j log q(z_j)       [total correlation]
                            + sum_j log q(z_j) - log p(z_j)     [dimension-wise KL]

A minibatch has M of the N posteriors, and their draws. A weighted sum of the M densities estimates
q(z). Its log is too low on average, and more so for smaller batches.
"""

from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from vae_jax.distributions import Normal
from vae_jax.models.interfaces import Factorized

Estimator = Literal["weighted", "stratified"]


class KlTerms(NamedTuple):
    """The parts of log q(z|x) - log p(z), one value per draw, in nats."""

    mutual_information: Float[Array, " batch"]
    total_correlation: Float[Array, " batch"]
    dimensionwise_kl: Float[Array, " batch"]


def log_importance_weights(
    estimator: Estimator, batch_size: int, num_examples: int
) -> Float[np.ndarray, "draws examples"]:
    """Return the log weight of q(z_i|x_m) in the estimate of q(z_i), `[batch_size, batch_size]`.

    weighted: 1 / (N M) for all (Chen et al. 2018, appendix C.1), in expectation a lower bound of
    log q(z). It is too low by about log M if the posteriors of a batch are far from each other, and
    by log N if they are alike. The same holds for log q(z_j) of each of the J latents, so that the
    total correlation is too high by about (J - 1) log N; what counts is its gradient.

    stratified: 1 / N for the posterior of z itself, and (N - 1) / (N (M - 1)) for the others. Given
    z it is an unbiased estimate of q(z) over batches drawn without replacement, and exact if the
    batch is the data set. In the paper (appendix C.2) the last of the others has a smaller weight
    than the rest; this is the mean of that estimate over the order of the others.

    Args:
      estimator: "weighted" or "stratified".
      batch_size: M.
      num_examples: N, the size of the training set.
    """
    size, num = batch_size, num_examples
    if estimator == "weighted":
        return np.full((size, size), -np.log(num * size), np.float32)
    # A batch of one has no others.
    others = np.log((num - 1) / (num * max(size - 1, 1)))
    return np.where(np.eye(size, dtype=bool), -np.log(num), others).astype(np.float32)


def decompose(
    posterior: Normal,
    prior: Factorized,
    latents: Float[Array, "batch latents"],
    log_weights: Float[Array | np.ndarray, "batch batch"],
) -> KlTerms:
    """Return the three parts at a draw of each posterior of a batch.

    Args:
      posterior: q(z|x_m) of the batch.
      prior: p(z).
      latents: a draw of each posterior.
      log_weights: log weights of the posteriors (columns) in the estimate of q(z_i) (rows).
    """
    # [draws, examples, latents]
    log_densities = posterior.log_prob_by_dimension(latents[:, None])
    log_joint = jax.nn.logsumexp(log_densities.sum(axis=-1) + log_weights, axis=1)
    log_marginals = jax.nn.logsumexp(log_densities + log_weights[..., None], axis=1)
    return KlTerms(
        mutual_information=posterior.log_prob(latents) - log_joint,
        total_correlation=log_joint - log_marginals.sum(axis=-1),
        dimensionwise_kl=(log_marginals - prior.log_prob_by_dimension(latents)).sum(axis=-1),
    )
