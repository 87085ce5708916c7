"""The Fréchet distance of two sets of features, each modelled as a normal distribution."""

import numpy as np
from jaxtyping import Float


def frechet_distance(
    first: Float[np.ndarray, "first features"], second: Float[np.ndarray, "second features"]
) -> float:
    """Return |m - n|^2 + tr(S + T - 2 (S T)^(1/2)) of means m, n and covariances S, T.

    Dowson & Landau 1982; Heusel et al. 2017 (arXiv 1706.08500, equation 6) take Inception's
    features and call it FID. It has the squared unit of the features, and is 0 where both moments
    agree. For two finite sets of one distribution it is larger the smaller the sets are.

    Raises:
      ValueError: a set has fewer than two members.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} features; covariances need two of each")
    mean_difference = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    covariance, other = (np.atleast_2d(np.cov(x.astype(np.float64).T)) for x in (first, second))
    # S^(1/2) T S^(1/2) has the eigenvalues of S T and is symmetric.
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    eigenvalues = np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)
    traces = np.trace(covariance) + np.trace(other) - 2 * np.sqrt(eigenvalues).sum()
    # Rounding may leave it just below 0 where both moments agree.
    return max(0.0, float(mean_difference @ mean_difference + traces))
