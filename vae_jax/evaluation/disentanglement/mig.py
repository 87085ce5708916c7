"""Mutual information gap: is one latent alone informative about a factor?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vae_jax.evaluation.disentanglement import usable
from vae_jax.evaluation.disentanglement.binned_information import (
    NUM_BINS,
    bin_codes,
    entropy,
    mutual_information,
)


class MutualInformationGap(NamedTuple):
    """The score and what it is computed from.

    Attributes:
      score: mean of the gaps, from 0 to 1.
      gaps: of each factor used, as shares of its entropy.
      information: I(z_j; v_k), nats.
      factors: indices of the factors used.
    """

    score: float
    gaps: Float[np.ndarray, " used"]
    information: Float[np.ndarray, "latents used"]
    factors: list[int]


def mutual_information_gap(
    codes: Float[np.ndarray, "points latents"],
    factors: Int[np.ndarray, "points factors"],
    *,
    num_bins: int = NUM_BINS,
) -> MutualInformationGap:
    """Return the mean over k of (I(z_j; v_k) - max_{i != j} I(z_i; v_k)) / H(v_k).

    j is the latent most informative about factor k. Equation 6 of Chen et al. 2018 (arXiv
    1802.04942), with the information between binned codes and factors as in Locatello et al. 2019
    (arXiv 1811.12359). Perfect: 1 if no factor has more values than there are bins, otherwise less,
    since a bin then holds several values. Noise: about 0. A factor coded twice: 0. A single latent
    has a runner-up without information.

    Args:
      codes: posterior means.
      factors: values from 0.
      num_bins: per latent.

    Raises:
      UserError: more bins than points, no factor with several values, codes that are not finite.
    """
    used = usable.used_factors(codes, factors)
    information = mutual_information(bin_codes(codes, num_bins), factors[:, used])
    entropies = np.array([entropy(factors[:, factor]) for factor in used])
    ranked = np.sort(np.pad(information, ((1, 0), (0, 0))), axis=0)
    gaps = (ranked[-1] - ranked[-2]) / entropies
    return MutualInformationGap(float(gaps.mean()), gaps, information, used)
