"""Decide which trials of a sweep go on at a mark, and which are stopped."""

import math
from collections.abc import Mapping, Sequence


def survivors(
    values: Mapping[int, float],
    rivals: Sequence[float],
    reduction: float,
    maximize: bool,
) -> set[int]:
    """Return the trials that go on, the best one in `reduction` of all seen at this mark.

    Of n = `len(rivals) + len(values)` values the best max(1, floor(n / reduction)) are kept, as in
    asynchronous successive halving: a trial is judged by what is there when it arrives and waits
    for no other. Li et al. (2020), "A System for Massively Parallel Hyperparameter Tuning",
    arXiv 1810.05934, algorithm 2; unlike there a trial that is stopped is never taken up again.

    Optuna's SuccessiveHalvingPruner is not used: it writes what it has seen into the trial while it
    is asked, so that asking again after a kill gives another answer. This one is a function.

    Args:
      values: the objective at the mark, by number, of the trials to judge.
      rivals: the objective at the mark of the trials judged before.
      reduction: one trial in `reduction` goes on; above 1.
      maximize: whether a larger objective is better.

    Returns:
      Some of the numbers in `values`. Equal values share their fate, so there may be more than the
      best few. NaN is worse than any number and goes on only where there is nothing else.
    """
    scores = {number: _score(value, maximize) for number, value in values.items()}
    ranked = sorted([*scores.values(), *(_score(value, maximize) for value in rivals)])[::-1]
    if not ranked:
        return set()
    keep = max(1, math.floor(len(ranked) / reduction))
    # If the best few include a NaN, only the numbers above it are kept.
    fit = [score for score in ranked if score[0]] or ranked
    last = fit[min(keep, len(fit)) - 1]
    return {number for number, score in scores.items() if score >= last}


def _score(value: float, maximize: bool) -> tuple[bool, float]:
    """Return a score that is larger for better values; NaN is the worst and equals itself."""
    if math.isnan(value):
        return (False, 0.0)
    return (True, value if maximize else -value)
