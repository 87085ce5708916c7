"""Pictures of a sweep: many members, what was varied among them, and what became of each.

Which members are left out, and which set no range, is said in `members`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vae_jax.plots.curves import settled_range
from vae_jax.plots.members import Metric, amounts_of, common_range, drawable, picked, tell_left_out
from vae_jax.plots.scales import Scale, Values, numbers, ranked, scale_of, shades
from vae_jax.plots.style import ACCENT, DPI, INK, METRIC_LABELS, QUIET, styled, text_width

if TYPE_CHECKING:
    # Imported inside the functions that draw: a training run that draws nothing pays nothing.
    import matplotlib.axes
    import matplotlib.cm
    import matplotlib.figure

# Cells of a heat map with their mean printed in them, at most.
_MOST_PRINTED = 100

# Length of a pointed end of a colour bar, as a part of the bar; and Matplotlib's word for one that
# is pointed (below, above).
_POINT = 0.05
_EXTEND: dict[tuple[bool, bool], Literal["neither", "min", "max", "both"]] = {
    (False, False): "neither",
    (True, False): "min",
    (False, True): "max",
    (True, True): "both",
}


@styled
def metric_by_value(
    values: Values, metric: Metric, *, field: str, label: str
) -> "matplotlib.figure.Figure":
    """Plot a metric against one swept setting: members as dots, the mean per value as a line.

    The bars reach one standard deviation (of the sample, n - 1 in the denominator) to each side of
    the mean, where at least two members share the value. The axis is logarithmic for positive
    numbers over more than a decade. What is no number stands side by side, without a line, which
    would claim an order. Nor is there a line where more than twenty values are all different, as
    a random search draws them: it would only join the dots.

    Args:
      values: of the field, one a member.
      metric: one number a member.
      field: what the field is called.
      label: what the metric is, with its unit.

    Raises:
      ValueError: the lengths differ, or no member has the metric.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    y = amounts_of(label, metric)
    kept = drawable({label: y}, [(field, values)])
    scale = scale_of(picked(values, kept))
    y, num_members = y[kept], len(y)
    places, group = np.unique(scale.positions, return_inverse=True)
    counts = np.bincount(group)
    means = np.bincount(group, y) / counts
    squares = np.bincount(group, (y - means[group]) ** 2)
    deviations = np.sqrt(squares / np.maximum(1, counts - 1))

    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(scale.positions, y, "o", color=QUIET, alpha=0.6, markeredgewidth=0, label="member")
    if len(places) <= 20 or counts.max() > 1:
        shared = counts > 1
        axes.plot(
            places,
            means,
            color=ACCENT,
            linestyle="none" if scale.categories else "-",
            marker="o",
            markersize=3,
            zorder=3,
            label="mean and standard deviation" if shared.any() else "mean",
        )
        axes.errorbar(
            places[shared],
            means[shared],
            deviations[shared],
            fmt="none",
            ecolor=ACCENT,
            elinewidth=0.9,
            capsize=2,
            zorder=3,
        )
    figure.legend(loc="outside upper center", ncols=2)
    scale.lay_on(axes.xaxis, 0.04)
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.set_xlabel(field)
    axes.set_ylabel(label)
    tell_left_out(axes, num_members - len(kept), num_members)
    return figure


@styled
def parallel_coordinates(
    columns: Mapping[str, Values], metric: Metric, label: str, maximize: bool = True
) -> "matplotlib.figure.Figure":
    """Return a line a member through its value of each field to its metric; the darker, the better.

    Each field has an axis of its own: logarithmic for positive numbers over more than a decade, a
    row of categories for what is no number. The last axis is the metric's, and the key to the
    colours, pointed where members lie outside it. Better members are drawn over worse ones, and the
    best over all, thicker.

    Args:
      columns: the values of each field, one a member, under its name; drawn in this order.
      metric: one number a member.
      label: what the metric is, with its unit.
      maximize: whether larger is better.

    Raises:
      ValueError: there is no column, the lengths differ, or no member has the metric.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    if not columns:
        raise ValueError("no columns to draw")
    goal = amounts_of(label, metric)
    kept = drawable({label: goal}, list(columns.items()))
    scales = [scale_of(picked(values, kept)) for values in columns.values()]
    low, high = common_range(goal[kept], maximize)
    last = scale_of(np.clip(goal[kept], low, high))
    ends = bool(goal[kept].min() < low), bool(goal[kept].max() > high)

    height, margin = 2.8, 0.03
    spacing = max(map(text_width, (*columns, label))) / DPI + 0.25
    figure = Figure(figsize=(min(max(1.2, spacing), 2.2) * len(columns) + 1.0, height + 0.5))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(0, len(columns))
    axes.set_ylim(-margin, 1 + margin)
    # From the worst to the best: what is drawn later lies above.
    order = np.argsort(goal[kept] if maximize else -goal[kept], kind="stable")
    heights = np.stack(
        [scale.fractions(scale.positions[order]) for scale in (*scales, last)], axis=1
    )
    stations = np.broadcast_to(np.arange(len(columns) + 1), heights.shape)
    colours = _darker_is_better(last, maximize)
    is_best, is_crowded = np.arange(len(kept)) == len(kept) - 1, len(kept) > 64
    axes.add_collection(
        LineCollection(
            list(np.stack([stations, heights], axis=2)),
            colors=colours.to_rgba(last.positions[order]),
            linewidths=np.where(is_best, 2.4, 0.6 if is_crowded else 0.9),
            # In a crowd the worst fade, so that the ways of the good can be followed.
            alpha=np.linspace(0.2, 1.0, len(kept)) if is_crowded else np.where(is_best, 1.0, 0.85),
            clip_on=False,
        )
    )
    for station, (field, scale) in enumerate(zip(columns, scales, strict=True)):
        own = axes.twinx()
        own.spines[["top", "right", "bottom"]].set_visible(False)
        own.spines["left"].set_position(("axes", station / len(columns)))
        own.yaxis.tick_left()
        scale.lay_on(own.yaxis, margin)
        own.spines["left"].set_bounds(*scale.limits)
        for tick_label in own.get_yticklabels():
            # The lines pass under it.
            tick_label.set_bbox({"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8})
        _write_above(axes, station, field)
    _write_above(axes, len(columns), label)
    # The points of the bar lie outside the limits of the metric, so that its ends agree with them.
    below, above = (_POINT * is_pointed for is_pointed in ends)
    strip = axes.inset_axes(
        (len(columns), -below, 0.03 * len(columns), 1 + below + above), transform=axes.transData
    )
    bar = figure.colorbar(colours, cax=strip, extend=_EXTEND[ends], extendfrac=_POINT)
    last.mark(bar)
    tell_left_out(axes, len(goal) - len(kept), len(goal), y=-0.06)
    return figure


@styled
def heat_map(
    x: Values,
    y: Values,
    metric: Metric,
    *,
    x_field: str,
    y_field: str,
    label: str,
    maximize: bool = True,
) -> "matplotlib.figure.Figure":
    """Return the mean of a metric over the members of each pair of values of two swept fields.

    All cells are of one size, whatever lies between the values. A pair that no member has stays
    blank. The means are printed in the cells of a map of at most a hundred; the bar of colours is
    pointed where a mean lies outside it.

    Args:
      x: values of the field that grows to the right, one a member.
      y: values of the field that grows upwards, one a member.
      metric: one number a member.
      x_field: what the first field is called.
      y_field: what the second is called.
      label: what the metric is, with its unit.
      maximize: whether larger is better.

    Raises:
      ValueError: the lengths differ, or no member has the metric.
    """
    from matplotlib.figure import Figure

    goal = amounts_of(label, metric)
    kept = drawable({label: goal}, [(x_field, x), (y_field, y)])
    columns, rows = ranked(picked(x, kept)), ranked(picked(y, kept))
    shape = len(rows.categories), len(columns.categories)
    cells = np.ravel_multi_index((rows.positions.astype(int), columns.positions.astype(int)), shape)
    counts = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
    sums = np.bincount(cells, goal[kept], minlength=counts.size).reshape(shape)
    means = np.ma.masked_array(sums / np.maximum(1, counts), counts == 0)
    low, high = common_range(means.compressed(), maximize)
    told = _rounded(means.compressed(), high - low)
    is_printed = means.size <= _MOST_PRINTED

    room = max(map(text_width, told)) / DPI if is_printed else 0.0
    width = max(1.4, shape[1] * max(room, min(0.5, 4.0 / shape[1])))
    height = shape[0] * max(0.2 * is_printed, min(0.34, 3.0 / shape[0]))
    # What stands upright beside the map has to fit too: at 9 points, not the 8 of its width.
    height = max(height, 9 / 8 * max(text_width(y_field), text_width(label)) / DPI + 0.1)
    # Slanted labels reach below the map by half their length or more.
    below = 0.7 * max(map(text_width, columns.categories)) / DPI
    figure = Figure(figsize=(width + 1.6, height + 0.5 + below), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.pcolormesh(
        np.arange(shape[1] + 1) - 0.5,
        np.arange(shape[0] + 1) - 0.5,
        means,
        cmap=shades(),
        vmin=low,
        vmax=high,
        edgecolors="white",
        linewidth=1.0 if is_printed else 0.0,
    )
    if is_printed:
        for (row, column), text in zip(np.argwhere(counts), told, strict=True):
            luminance = np.dot([0.3, 0.6, 0.1], drawn.to_rgba(means[row, column])[:3])
            ink = INK if luminance > 0.5 else "white"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=ink)
    columns.lay_on(axes.xaxis)
    rows.lay_on(axes.yaxis)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(x_field)
    axes.set_ylabel(y_field)
    ends = bool(means.min() < low), bool(means.max() > high)
    bar = figure.colorbar(
        drawn, ax=axes, fraction=0.06, pad=0.03, label=label, extend=_EXTEND[ends]
    )
    bar.outline.set_visible(False)
    tell_left_out(axes, len(goal) - len(kept), len(goal))
    return figure


@styled
def member_curves(
    curves: Sequence[Mapping[str, Any]],
    metric: str = "elbo",
    values: Values | None = None,
    value_label: str = "",
    *,
    maximize: bool = True,
) -> "matplotlib.figure.Figure":
    """Return one metric on validation data against the epoch, a thin line a member.

    Told by colour: the swept value, or without one how good the member is at its last epoch, the
    best the darkest and drawn over the others. The range is chosen as for `training_curves`. A
    member that diverged is drawn as far as its metric is finite.

    Args:
      curves: of each member, {"epoch": [epochs], metric: [epochs]}.
      metric: the key of the metric.
      values: what was swept, one a member.
      value_label: what `values` are.
      maximize: whether a larger metric is better.

    Raises:
      ValueError: the lengths differ, or no member has a finite value of the metric.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    label = METRIC_LABELS.get(metric, metric.replace("_", " "))
    series = [_finite_series(curve, metric) for curve in curves]
    final = np.array([told[-1] if len(told) else np.nan for _, told in series])
    kept = drawable({metric: final}, () if values is None else [("values", values)])
    low, high = common_range(final[kept], maximize)
    if values is None:
        kept = kept[np.argsort(final[kept] if maximize else -final[kept], kind="stable")]
        scale = scale_of(np.clip(final[kept], low, high))
        colours, caption = _darker_is_better(scale, maximize), f"last {label}"
        ends = bool(final[kept].min() < low), bool(final[kept].max() > high)
    else:
        scale = scale_of(picked(values, kept))
        colours, caption, ends = scale.colours(), value_label, (False, False)

    height = 2.8
    figure = Figure(figsize=(5.0, height), layout="constrained")
    axes = figure.add_subplot()
    for i, position in zip(kept, scale.positions, strict=True):
        axes.plot(
            *series[i],
            color=colours.to_rgba(position),
            linewidth=0.9 if len(kept) <= 64 else 0.5,
            alpha=0.85,
            # A line through one point is invisible.
            marker="o" if len(series[i][0]) == 1 else "",
        )
    axes.set_ylim(*settled_range([series[i] for i in kept if low <= final[i] <= high]))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"validation {label}")
    bar = figure.colorbar(
        colours, ax=axes, fraction=0.05, pad=0.02, label=caption, extend=_EXTEND[ends]
    )
    scale.mark(bar)
    tell_left_out(axes, len(final) - len(kept), len(final))
    return figure


@styled
def search_history(
    values: Metric,
    *,
    label: str,
    pruned: Values | None = None,
    maximize: bool = True,
) -> "matplotlib.figure.Figure":
    """Plot the value of each trial in the order of the search, and the best so far.

    Trials that were pruned are hollow and no candidates for the best, since their value is that of
    an epoch before the last. Values outside the range are triangles at its edge.

    Args:
      values: of each trial, in the order in which they began.
      label: what they are, with the unit.
      pruned: whether each trial was ended early.
      maximize: whether larger is better.

    Raises:
      ValueError: the lengths differ, or no trial has a value.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    told = amounts_of(label, values)
    hollow = np.zeros(len(told), bool) if pruned is None else np.asarray(pruned, bool)
    kept = drawable({label: told}, [("pruned", hollow)])
    is_told = np.isfinite(told)
    low, high = common_range(told[kept], maximize)
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    figure = Figure(figsize=(4.6, 2.8), layout="constrained")
    axes = figure.add_subplot()
    trials, edge = np.arange(len(told)), low - 0.5 * margin if maximize else high + 0.5 * margin
    is_near = (told >= low) & (told <= high)
    for is_hollow in (False, True):
        for marker, chosen in (
            ("o", is_told & is_near & (hollow == is_hollow)),
            ("v" if maximize else "^", is_told & ~is_near & (hollow == is_hollow)),
        ):
            axes.plot(
                trials[chosen],
                told[chosen] if marker == "o" else np.full(chosen.sum(), edge),
                marker,
                color=QUIET,
                markerfacecolor="white" if is_hollow else QUIET,
                markeredgewidth=0.8,
                # A name that begins with a dash below is not told in the legend.
                label=("" if marker == "o" and hollow.any() else "_")
                + ("pruned" if is_hollow else "trial"),
            )
    finished = np.where(is_told & ~hollow, told, -np.inf if maximize else np.inf)
    best = (np.maximum if maximize else np.minimum).accumulate(finished)
    begun = np.isfinite(best)
    if begun.any():
        axes.step(
            trials[begun], best[begun], where="post", color=ACCENT, label="best so far", zorder=3
        )
    axes.set_xlim(-0.02 * len(told) - 0.5, 1.02 * len(told) - 0.5)
    axes.set_ylim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.set_xlabel("trial")
    axes.set_ylabel(label)
    figure.legend(loc="outside upper center", ncols=3)
    tell_left_out(axes, len(told) - len(kept), len(told), "trials")
    return figure


def _finite_series(curve: Mapping[str, Any], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the epochs in order at which the metric is finite, and its values there."""
    if "epoch" not in curve:
        raise ValueError(f"a curve needs its epochs under 'epoch'; this has {sorted(curve)}")
    epochs = amounts_of("epoch", curve["epoch"])
    values = amounts_of(metric, curve.get(metric, [None] * len(epochs)))
    if len(epochs) != len(values):
        raise ValueError(f"a curve has {len(epochs)} epochs and {len(values)} values of {metric}")
    order = np.argsort(epochs, kind="stable")
    order = order[np.isfinite(epochs[order]) & np.isfinite(values[order])]
    return epochs[order], values[order]


def _rounded(values: np.ndarray, spread: float) -> list[str]:
    """Numbers with as many decimals as show a thirtieth of `spread`."""
    size = spread or float(np.abs(values).max()) or 1.0
    decimals = int(np.clip(np.ceil(-np.log10(size / 30)), 0, 6))
    return [
        f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}")
        if abs(value) < 1e6
        else numbers([value])[0]
        for value in values
    ]


def _darker_is_better(scale: Scale, maximize: bool) -> "matplotlib.cm.ScalarMappable":
    colours = scale.colours()
    if maximize:
        colours.set_cmap(shades().reversed())
    return colours


def _write_above(axes: "matplotlib.axes.Axes", station: int, text: str) -> None:
    axes.annotate(
        text, (station, 1), (0, 10), textcoords="offset points", ha="center", annotation_clip=False
    )
