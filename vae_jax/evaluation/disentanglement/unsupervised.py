"""Dependence between latents, which needs no factors.

Locatello et al. 2019 (arXiv 1811.12359) measure it for posterior means and for samples.
"""

import numpy as np
from jaxtyping import Float

from vae_jax.evaluation.disentanglement import usable
from vae_jax.evaluation.disentanglement.binned_information import (
    NUM_BINS,
    bin_codes,
    mutual_information,
)


def covariance(codes: Float[np.ndarray, "points latents"]) -> Float[np.ndarray, "latents latents"]:
    """Return the covariance of the codes; exactly 0 for a constant latent."""
    usable.require_finite(codes)
    varies = np.ptp(codes, axis=0) > 0
    matrix = np.atleast_2d(np.cov(codes, rowvar=False, dtype=np.float64))
    return np.where(varies & varies[:, None], matrix, 0)


def sample_covariance(
    codes: Float[np.ndarray, "points latents"], scales: Float[np.ndarray, "points latents"]
) -> Float[np.ndarray, "latents latents"]:
    """Return Cov(z) = Cov(E[z|x]) + E[Cov(z|x)] of samples of diagonal posteriors, none drawn.

    Args:
      codes: posterior means.
      scales: posterior standard deviations.
    """
    usable.require_finite(scales)
    return covariance(codes) + np.diag(np.square(scales, dtype=np.float64).mean(axis=0))


def gaussian_total_correlation(matrix: Float[np.ndarray, "latents latents"]) -> float | None:
    """Return KL(N(0, S) || N(0, diag S)) = -1/2 log det R, in nats, with R the correlations of S.

    Constant latents are left out. 0 for uncorrelated latents; -1/2 log(1 - r^2) for two of
    correlation r.

    Args:
      matrix: the covariance S.

    Returns:
      None where it is infinite: a latent is a linear function of others, such as a copy.
    """
    varies = np.diag(matrix) > 0
    deviations = np.sqrt(np.diag(matrix)[varies])
    correlations = matrix[np.ix_(varies, varies)] / np.outer(deviations, deviations)
    eigenvalues = np.linalg.eigvalsh(correlations)
    # Singular up to the rounding of codes in single precision.
    if (eigenvalues < np.finfo(np.float32).eps).any():
        return None
    return float(max(0.0, -0.5 * np.log(eigenvalues).sum()))


def gaussian_wasserstein_correlation(matrix: Float[np.ndarray, "latents latents"]) -> float:
    """Return W_2^2(N(0, S), N(0, D)) / tr S = 2 - 2 tr (D^1/2 S D^1/2)^1/2 / tr S, D = diag S.

    0 for uncorrelated latents; 2 - sqrt(1 + r) - sqrt(1 - r) for two of equal variance and
    correlation r. 0 if all latents are constant.

    Args:
      matrix: the covariance S.
    """
    trace = np.trace(matrix)
    if trace == 0:
        return 0.0
    deviations = np.sqrt(np.diag(matrix))
    eigenvalues = np.linalg.eigvalsh(matrix * np.outer(deviations, deviations))
    root_trace = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    return float(max(0.0, 2 - 2 * root_trace / trace))


def average_mutual_information(
    codes: Float[np.ndarray, "points latents"], *, num_bins: int = NUM_BINS
) -> float | None:
    """Return the mean of I(z_i; z_j) over pairs of latents, from binned codes, in nats.

    Independent latents: about (num_bins - 1)^2 / 2N for N points, less where bins are empty.

    Returns:
      None where there is one latent only.

    Raises:
      UserError: more bins than points, codes that are not finite.
    """
    usable.require_finite(codes)
    if codes.shape[1] == 1:
        return None
    binned = bin_codes(codes, num_bins)
    information = mutual_information(binned, binned)
    return float(information[np.triu_indices(codes.shape[1], 1)].mean())
