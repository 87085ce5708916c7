"""Interventional robustness: does a latent keep its value while other factors change?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vae_jax.evaluation.disentanglement import usable

# In place of the supremum over the other factors, which single points would decide.
_PERCENTILE = 99


class InterventionalRobustness(NamedTuple):
    """The score and what it is computed from.

    Attributes:
      score: from 0 to 1.
      robustness: of each latent given each factor used, from 0 to 1.
      factors: indices of the factors used.
    """

    score: float
    robustness: Float[np.ndarray, "latents used"]
    factors: list[int]


def _deviation(codes: Float[np.ndarray, "points latents"]) -> Float[np.ndarray, " latents"]:
    """Return the 99th percentile of the codes' distances from their mean."""
    return np.percentile(np.abs(codes - codes.mean(axis=0)), _PERCENTILE, axis=0)


def interventional_robustness(
    codes: Float[np.ndarray, "points latents"], factors: Int[np.ndarray, "points factors"]
) -> InterventionalRobustness:
    """Return the mean over latents of max_k 1 - E_v[deviation given v_k = v] / deviation.

    Suter et al. 2019 (arXiv 1811.00007). The factors are drawn independently, so that choosing the
    points of one value is an intervention. Deviations are 99th percentiles of the distance from
    the mean. Latents are weighted by their deviation over all points: constant ones do not count,
    and the score changes if latents are scaled differently. Perfect: 1, also where a factor is
    coded twice. Noise: about 0, with some hundred points per value. The 45-degree rotation of two
    factors: about 1/2.

    Args:
      codes: posterior means.
      factors: drawn independently.

    Raises:
      UserError: no factor with several values, codes that are not finite.
    """
    used = usable.used_factors(codes, factors)
    codes = codes.astype(np.float64)
    overall = np.where(np.ptp(codes, axis=0) > 0, _deviation(codes), 0)
    robustness = np.zeros((codes.shape[1], len(used)))
    for column, factor in enumerate(used):
        values = np.unique(factors[:, factor])
        given = np.mean(
            [_deviation(codes[factors[:, factor] == value]) for value in values], axis=0
        )
        robustness[:, column] = 1 - given / np.where(overall > 0, overall, 1)
    robustness = np.where(overall[:, None] > 0, np.maximum(robustness, 0), 0)
    if overall.sum() == 0:
        return InterventionalRobustness(0.0, robustness, used)
    score = float(np.average(robustness.max(axis=1), weights=overall))
    return InterventionalRobustness(score, robustness, used)
