"""Differences between settings with confidence intervals, from a few seeds each.

The bootstrap resamples seeds: an interval covers what other seeds would have given, not what
another data set would.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# The metrics of one method's runs, by strength and seed.
Runs = Float[np.ndarray, "_strengths _seeds metrics"]

_NUM_DRAWS = 2000
_NUM_POINTS = 20


class Interval(NamedTuple):
    """An estimate, and the interval in which 95 % of its bootstrap draws lie."""

    estimate: float
    low: float
    high: float


def _bootstrap(statistic: Callable[[Runs, Runs], float], first: Runs, second: Runs) -> Interval:
    """Return the percentile bootstrap interval over seeds (Efron & Tibshirani 1993, chapter 13).

    Draws whose statistic is NaN are left out.
    """
    rng = np.random.default_rng(0)

    def drawn(runs: Runs) -> Runs:
        num_strengths, num_seeds, _ = runs.shape
        indices = rng.integers(num_seeds, size=(num_strengths, num_seeds))
        return runs[np.arange(num_strengths)[:, None], indices]

    values = [statistic(drawn(first), drawn(second)) for _ in range(_NUM_DRAWS)]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Interval(statistic(first, second), float(low), float(high))


def difference_of_means(
    first: Float[np.ndarray, " seeds"], second: Float[np.ndarray, " others"]
) -> Interval:
    """Return the mean of `second` less that of `first`."""
    return _bootstrap(
        lambda a, b: float(b.mean() - a.mean()), first[None, :, None], second[None, :, None]
    )


def gain_at_equal_cost(first: Runs, second: Runs) -> Interval | None:
    """Return how much higher the second method's score is at equal cost.

    The means over seeds of cost and score at each strength make a curve, linear in between. The
    gain is the mean difference of the two curves over the costs that both reach.

    Args:
      first: `[strengths, seeds, 2]`, cost and score of each run.
      second: the same of the other method.

    Returns:
      None where the two have no costs in common.
    """

    def gain(first: Runs, second: Runs) -> float:
        curves = [runs.mean(axis=1) for runs in (first, second)]
        curves = [curve[np.argsort(curve[:, 0], kind="stable")] for curve in curves]
        low = max(curve[0, 0] for curve in curves)
        high = min(curve[-1, 0] for curve in curves)
        if low > high:
            return float("nan")
        costs = np.linspace(low, high, _NUM_POINTS)
        heights = [np.interp(costs, curve[:, 0], curve[:, 1]) for curve in curves]
        return float((heights[1] - heights[0]).mean())

    if np.isnan(gain(first, second)):
        return None
    return _bootstrap(gain, first, second)
