"""The columns of a table beside those of a sample."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from vae_jax.plots.style import CLASS_COLOURS, INK, styled

if TYPE_CHECKING:
    # At run time only functions that draw import it, to spare other commands the time.
    import matplotlib.axes
    import matplotlib.figure

_MOST_SHOWN = 24
_PER_ROW = 4
_NUM_BINS = 24
# More categories than this have no room for their names.
_MOST_NAMES = 6
# A positive column of a larger ratio is drawn by its logs.
_LARGE_RATIO = 30.0


class Marginal(NamedTuple):
    """A column and the same column of a sample; NaN is not drawn.

    Attributes:
        name: the column's name.
        data: values of the data.
        sample: values of the sample.
        categories: texts of values 0, 1, 2 ...; () for numbers.
    """

    name: str
    data: Float[np.ndarray, " rows"]
    sample: Float[np.ndarray, " draws"]
    categories: tuple[str, ...]


@styled
def marginals(columns: Sequence[Marginal]) -> "matplotlib.figure.Figure":
    """Return a panel per column: the data's distribution, filled, and the sample's, a line.

    At most 24 columns are shown. Numbers are cut to the data's range and a tenth beyond.
    """
    from matplotlib.figure import Figure

    shown = columns[:_MOST_SHOWN]
    per_row = min(_PER_ROW, len(shown))
    num_rows = math.ceil(len(shown) / per_row)
    figure = Figure(figsize=(1.9 * per_row, 1.5 * num_rows + 0.3), layout="constrained")
    panels = figure.subplots(num_rows, per_row, squeeze=False).ravel()
    for axes, column in zip(panels, shown, strict=False):
        (_draw_categories if column.categories else _draw_numbers)(axes, column)
        axes.set_title(column.name)
        axes.set_yticks([])
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _draw_numbers(axes: "matplotlib.axes.Axes", column: Marginal) -> None:
    data, sample = (values[np.isfinite(values)] for values in (column.data, column.sample))
    # A few rows may all lack a column.
    shown = data if len(data) else sample
    if len(shown) == 0:
        return
    low, high = float(shown.min()), float(shown.max())
    if low > 0 and high / low > _LARGE_RATIO:
        bins = np.geomspace(low / 1.1, high * 1.1, _NUM_BINS)
        axes.set_xscale("log")
    elif high - low < _NUM_BINS and np.array_equal(shown, np.round(shown)):
        bins = np.arange(low, high + 2) - 0.5
    else:
        margin = 0.1 * (high - low) or 1.0
        # Long numbers would run into each other.
        axes.locator_params(axis="x", nbins=4)
        bins = np.linspace(low - margin, high + margin, _NUM_BINS)
    edges = bins.tolist()
    filled: dict[str, Any] = {"color": CLASS_COLOURS[0], "alpha": 0.35, "label": "data"}
    outlined: dict[str, Any] = {
        "color": INK,
        "histtype": "step",
        "linewidth": 1.2,
        "label": "sample",
    }
    for values, look in ((data, filled), (sample, outlined)):
        weights = np.full(len(values), 1 / max(1, len(values)))
        axes.hist(values, edges, weights=weights, **look)


def _draw_categories(axes: "matplotlib.axes.Axes", column: Marginal) -> None:
    num = len(column.categories)
    shares = []
    for values in (column.data, column.sample):
        counts = np.bincount(values[np.isfinite(values)].astype(int), minlength=num)
        shares.append(counts / max(1, counts.sum()))
    at = np.arange(num)
    axes.bar(at, shares[0], color=CLASS_COLOURS[0], alpha=0.35, label="data")
    axes.bar(at, shares[1], fill=False, edgecolor=INK, linewidth=1.2, label="sample")
    names = column.categories if num <= _MOST_NAMES else ()
    axes.set_xticks(at[: len(names)], names, fontsize=6)
