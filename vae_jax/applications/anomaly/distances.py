"""The distance of an image's code from the codes of the training images."""

import numpy as np
from jaxtyping import Float

from vae_jax.errors import UserError

# Directions in which the codes have less than this share of their largest variance are left out.
_LEAST_VARIANCE = 1e-6


def mahalanobis_distance(
    codes: Float[np.ndarray, "images latents"], training_codes: Float[np.ndarray, "known latents"]
) -> Float[np.ndarray, " images"]:
    """Return sqrt((m - c)^T S^-1 (m - c)), c the mean, S the covariance of the training codes.

    The score of Lee et al. 2018 (arXiv 1807.03888, equation 2) on posterior means m = E[z|x],
    without classes. Directions in which the training codes do not vary do not count.

    Args:
      codes: of the images.
      training_codes: of at least two training images.

    Raises:
      UserError: there are fewer.
    """
    if len(training_codes) < 2:
        raise UserError("one training image has no covariance; use a training split of more")
    known = training_codes.astype(np.float64)
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(known, rowvar=False)))
    varies = variances > _LEAST_VARIANCE * variances[-1]
    along = (codes - known.mean(axis=0)) @ directions[:, varies]
    return np.sqrt((np.square(along) / variances[varies]).sum(axis=1))
