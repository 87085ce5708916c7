"""Detection by scores: AUROC, average precision and thresholds.

Scores are higher for the more anomalous. An interval covers what other images of the same two kinds
would have given, not what another seed would.
"""

import math

import numpy as np
from jaxtyping import Float

from vae_jax.evaluation.seed_statistics import Interval

Scores = Float[np.ndarray, " images"]

_NUM_DRAWS = 1000


def _require_scores(name: str, scores: Float[np.ndarray, " num"]) -> None:
    if len(scores) == 0:
        raise ValueError(f"there are no {name} scores")
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(scores))} {name} scores are not finite")


class _Counts:
    """The numbers of normal and of anomalous images at each distinct score, the highest first."""

    def __init__(self, normal: Float[np.ndarray, " num"], anomalous: Scores) -> None:
        _require_scores("normal", normal)
        _require_scores("anomalous", anomalous)
        values, indices = np.unique(-np.concatenate([normal, anomalous]), return_inverse=True)
        self.num = len(values)
        self.indices = indices[: len(normal)], indices[len(normal) :]

    def cumulated(self, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of images at each score or above, by kind.

        With a generator, images are drawn with replacement first.
        """

        def of_kind(indices: np.ndarray) -> np.ndarray:
            if rng is not None:
                indices = indices[rng.integers(len(indices), size=len(indices))]
            return np.cumsum(np.bincount(indices, minlength=self.num))

        return of_kind(self.indices[0]), of_kind(self.indices[1])


def _area(false: np.ndarray, true: np.ndarray) -> float:
    """Return the area under the ROC curve, linear between its points."""
    before = true - np.diff(true, prepend=0) / 2
    return float(np.diff(false, prepend=0) @ before / (false[-1] * true[-1]))


def _mean_precision(false: np.ndarray, true: np.ndarray) -> float:
    # At the highest scores a draw may have no image at all; recall does not rise there.
    precision = true / np.maximum(true + false, 1)
    return float(np.diff(true, prepend=0) @ precision / true[-1])


def auroc(normal: Float[np.ndarray, " num"], anomalous: Scores) -> float:
    """Return P(anomalous score > normal score), a tie counting one half; 0.5 is chance.

    This is the area under the ROC curve, and Mann & Whitney's U over the number of pairs (Hanley &
    McNeil 1982).

    Args:
      normal: scores of normal images.
      anomalous: scores of anomalous ones.

    Raises:
      ValueError: no score of one kind, or scores that are not finite.
    """
    return _area(*_Counts(normal, anomalous).cumulated())


def average_precision(normal: Float[np.ndarray, " num"], anomalous: Scores) -> float:
    """Return the sum over thresholds t of (recall(t) - recall(t')) precision(t), t' next above t.

    Chance gives the share of the anomalous among all images.

    Raises:
      ValueError: as `auroc`.
    """
    return _mean_precision(*_Counts(normal, anomalous).cumulated())


def with_intervals(
    normal: Float[np.ndarray, " num"], anomalous: Scores, seed: int = 0
) -> tuple[Interval, Interval]:
    """Return AUROC and average precision with 95 % intervals from 1,000 bootstrap draws.

    Images of each kind are drawn with replacement, as many as there are (Efron & Tibshirani 1993,
    chapter 13).

    Raises:
      ValueError: as `auroc`.
    """
    counts, rng = _Counts(normal, anomalous), np.random.default_rng(seed)

    def both(cumulated: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
        return _area(*cumulated), _mean_precision(*cumulated)

    estimates = both(counts.cumulated())
    draws = [both(counts.cumulated(rng)) for _ in range(_NUM_DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0).tolist()
    area, precision = map(Interval, estimates, low, high)
    return area, precision


def threshold(normal: Float[np.ndarray, " num"], false_positive_rate: float) -> float:
    """Return the lowest score above which at most a share of the scores lies.

    Args:
      normal: scores of normal images that the model was not fitted to.
      false_positive_rate: that share, above 0 and below 1.

    Raises:
      ValueError: no score, scores that are not finite, or another rate.
    """
    _require_scores("normal", normal)
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"a rate of {false_positive_rate} must lie between 0 and 1")
    # The slack is for a product such as 0.29 * 100, which is below 29.
    most = math.floor(false_positive_rate * len(normal) + 1e-9)
    return float(np.sort(normal)[len(normal) - 1 - most])
