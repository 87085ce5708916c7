"""Separated attribute predictability: does one latent alone predict a factor?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vae_jax.evaluation.disentanglement import usable


class AttributePredictability(NamedTuple):
    """The score and what it is computed from.

    Attributes:
      score: mean over factors of the difference between the two best accuracies, from 0 to 1.
      accuracy: on the test points, by each latent alone.
      factors: indices of the factors used.
    """

    score: float
    accuracy: Float[np.ndarray, "latents used"]
    factors: list[int]


def _predict(
    codes: Float[np.ndarray, " points"],
    values: Int[np.ndarray, " points"],
    test_codes: Float[np.ndarray, " tests"],
) -> Int[np.ndarray, " tests"]:
    """Return the value whose training codes have the nearest mean."""
    present, indices, counts = np.unique(values, return_inverse=True, return_counts=True)
    means = np.bincount(indices, weights=codes) / counts
    order = np.argsort(means, kind="stable")
    thresholds = (means[order][1:] + means[order][:-1]) / 2
    return present[order][np.searchsorted(thresholds, test_codes)]


def separated_attribute_predictability(
    codes: Float[np.ndarray, "points latents"],
    factors: Int[np.ndarray, "points factors"],
    test_codes: Float[np.ndarray, "tests latents"],
    test_factors: Int[np.ndarray, "tests factors"],
) -> AttributePredictability:
    """Return the mean over factors of the best latent's accuracy less the second best's.

    Kumar et al. 2018 (arXiv 1711.00848, section 3). Their classifier of a discrete factor is a set
    of thresholds on the latent; Locatello et al. 2019 take a linear support vector machine. Here
    it is the linear discriminant of equal priors and variances, which in one dimension has a closed
    form: thresholds half way between the means of the values. Accuracies are of test points.

    Perfect: the mean of 1 - 1/n over factors of n equally frequent values, as the second best
    guesses. Noise: about 0. A factor coded twice: 0. A single latent is compared with a guess.

    Args:
      codes: posterior means of the training points.
      factors: of the training points.
      test_codes: posterior means of other points.
      test_factors: of the other points.

    Raises:
      UserError: no factor with several values, codes that are not finite.
    """
    used = usable.used_factors(codes, factors)
    usable.require_finite(test_codes)

    # The constant latent guesses: it is the second best of a single latent.
    def with_constant(codes: Float[np.ndarray, "points latents"]) -> np.ndarray:
        return np.pad(codes.astype(np.float64), ((0, 0), (0, 1)))

    accuracy = np.array(
        [
            [(_predict(z, factors[:, k], test_z) == test_factors[:, k]).mean() for k in used]
            for z, test_z in zip(with_constant(codes).T, with_constant(test_codes).T, strict=True)
        ]
    )
    ranked = np.sort(accuracy, axis=0)
    score = float((ranked[-1] - ranked[-2]).mean())
    return AttributePredictability(score, accuracy[:-1], used)
