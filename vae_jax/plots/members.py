"""The common part of a sweep's plots: which members are drawn, ranges, and captions.

A member is one place in each of the sequences given. Where its metric is None, NaN or infinite,
because it was pruned or diverged, it is left out, and the picture says how many were.

A few members that did far worse than the rest set no range of an axis or of colours, except where a
metric stands against the one field that explains it: they are drawn at the end of the range. Far
worse is who is among the worst tenth and misses the range of the others by more than twice its
length.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from vae_jax.plots.scales import Values
from vae_jax.plots.style import QUIET

if TYPE_CHECKING:
    # Imported inside the functions that draw: a training run that draws nothing pays nothing.
    import matplotlib.axes

Metric = Sequence[SupportsFloat | None] | np.ndarray
"""One number a member; None, NaN or infinity where there is none."""


def amounts_of(name: str, values: Metric) -> np.ndarray:
    """[members], floats: NaN for None and for what is infinite; a ValueError for no number."""
    amounts = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        try:
            amounts[i] = np.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name}: {value!r} of member {i} is no number") from None
    return np.where(np.isfinite(amounts), amounts, np.nan)


def drawable(
    metrics: Mapping[str, np.ndarray], others: Sequence[tuple[str, Values]] = ()
) -> np.ndarray:
    """Indices, in order, of the members of which all metrics are finite.

    Args:
      metrics: [members] each, under their names.
      others: further sequences of one value a member, for whose lengths alone is looked.

    Raises:
      ValueError: the lengths differ, or there is no such member.
    """
    lengths = [(name, len(values)) for name, values in (*metrics.items(), *others)]
    if len({length for _, length in lengths}) > 1:
        told = ", ".join(f"{name}: {length}" for name, length in lengths)
        raise ValueError(f"one value a member is needed in each sequence; their lengths are {told}")
    kept = np.flatnonzero(np.all([np.isfinite(values) for values in metrics.values()], axis=0))
    if len(kept) == 0:
        wanted = " and ".join(metrics)
        raise ValueError(f"nothing to draw: none of {lengths[0][1]} members has a finite {wanted}")
    return kept


def picked(values: Values, indices: np.ndarray) -> list[Any]:
    """Return the values of the members at `indices`."""
    # One by one: as an array, tuples would become rows and numbers beside strings strings.
    return [values[int(i)] for i in indices]


def common_range(values: np.ndarray, maximize: bool) -> tuple[float, float]:
    """Least and largest value, without the few that are far worse than the rest."""
    worst_first = np.sort(values) if maximize else np.sort(values)[::-1]
    most_left_out = max(1, len(values) // 10) if len(values) >= 5 else 0
    others = worst_first[most_left_out:]
    distance = np.abs(worst_first - worst_first[-1])
    # Where all others agree, whatever differs at all would count as far off.
    near = worst_first[distance <= 3 * np.ptp(others)] if np.ptp(others) > 0 else values
    return float(near.min()), float(near.max())


def tell_left_out(
    axes: "matplotlib.axes.Axes", num: int, total: int, what: str = "members", **place: Any
) -> None:
    """Write above the axes how many members are not in the picture, if any."""
    # A picture of the survivors alone would flatter the values at which the others were lost.
    if num:
        told = f"{num} of {total} {what} without a value"
        axes.set_title(told, loc="right", fontsize=7, color=QUIET, pad=3, **place)
