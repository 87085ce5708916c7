"""The common part of a sweep's plots: which members are drawn, ranges, panels and captions.

A member is one index of the given sequences. Members whose metric is None, NaN or infinite, because
they were pruned or diverged, are left out, and the plot says how many.

A few members that are far worse than the rest do not set the range of an axis or of colours; they
are drawn at the end of the range. Plots of a metric against a single field show them in full. A
member is far worse if it is among the worst tenth and outside the range of the others by more than
twice the length of that range.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat

import numpy as np

from vae_jax.plots.scales import Scale, Values
from vae_jax.plots.style import QUIET

if TYPE_CHECKING:
    # At run time only functions that draw import it, to spare other commands the time.
    import matplotlib.axes
    import matplotlib.cm
    import matplotlib.figure

# Matplotlib's word for a colour bar whose ends (below, above) are pointed.
EXTEND: dict[tuple[bool, bool], Literal["neither", "min", "max", "both"]] = {
    (False, False): "neither",
    (True, False): "min",
    (False, True): "max",
    (True, True): "both",
}

Metric = Sequence[SupportsFloat | None] | np.ndarray
"""One number per member; None, NaN or infinity if there is none."""


def amounts_of(name: str, values: Metric) -> np.ndarray:
    """Return floats `[members]`, NaN for None and for infinity.

    Raises:
      ValueError: a value is not a number.
    """
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
    """Return the indices, in order, of the members whose metrics are all finite.

    Args:
      metrics: metrics by name, each `[members]`.
      others: other sequences of one value per member, whose lengths are checked.

    Raises:
      ValueError: the lengths differ, or there is no such member.
    """
    lengths = [(name, len(values)) for name, values in (*metrics.items(), *others)]
    if len({length for _, length in lengths}) > 1:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths)
        raise ValueError(f"each sequence needs one value per member; their lengths are {listed}")
    kept = np.flatnonzero(np.all([np.isfinite(values) for values in metrics.values()], axis=0))
    if len(kept) == 0:
        wanted = " and ".join(metrics)
        raise ValueError(f"nothing to draw: none of {lengths[0][1]} members has a finite {wanted}")
    return kept


def picked(values: Values, indices: np.ndarray) -> list[Any]:
    """Return the values of the members at `indices`."""
    # One by one: in an array tuples would become rows, and numbers among strings strings.
    return [values[int(i)] for i in indices]


def common_range(values: np.ndarray, maximize: bool) -> tuple[float, float]:
    """Return the smallest and the largest value, without the few that are far worse."""
    worst_first = np.sort(values) if maximize else np.sort(values)[::-1]
    most_left_out = max(1, len(values) // 10) if len(values) >= 5 else 0
    others = worst_first[most_left_out:]
    distance = np.abs(worst_first - worst_first[-1])
    # If all others agree, any other value would count as far worse.
    near = worst_first[distance <= 3 * np.ptp(others)] if np.ptp(others) > 0 else values
    return float(near.min()), float(near.max())


def panel_axes(
    figure: "matplotlib.figure.Figure", num: int, width: float, height: float
) -> "list[matplotlib.axes.Axes]":
    """Return `num` axes of the same range, two per row, each `width` by `height` inches."""
    columns = min(2, num)
    rows = -(-num // columns)
    figure.set_size_inches(columns * width, rows * height)
    grid = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for axes in grid[num:]:
        axes.remove()
    for axes in grid[:num]:
        # Shared axes have their labels at the edge of the grid alone; each panel has its own bar.
        axes.tick_params(labelbottom=True, labelleft=True)
    return grid[:num]


def colour_bar(
    axes: "matplotlib.axes.Axes",
    scale: Scale,
    label: str,
    *,
    ends: tuple[bool, bool] = (False, False),
    is_reversed: bool = False,
) -> "matplotlib.cm.ScalarMappable":
    """Draw a colour bar of a scale beside the axes; return its colours.

    Args:
      axes: the axes.
      scale: the scale.
      label: name of the values.
      ends: whether the lower and the upper end are pointed, for members outside.
      is_reversed: whether large numbers are dark.
    """
    colours = scale.colours()
    if is_reversed:
        colours.set_cmap(colours.get_cmap().reversed())
    bar = axes.figure.colorbar(
        colours, ax=axes, fraction=0.05, pad=0.02, label=label, extend=EXTEND[ends]
    )
    scale.mark(bar)
    return colours


def caption_left_out(
    axes: "matplotlib.axes.Axes", num: int, total: int, what: str = "members", **position: Any
) -> None:
    """Write above the axes how many members are left out of the plot, if any."""
    # A plot of the survivors alone would flatter the values at which the others failed.
    if num:
        text = f"{num} of {total} {what} without a value"
        axes.set_title(text, loc="right", fontsize=7, color=QUIET, pad=3, **position)
