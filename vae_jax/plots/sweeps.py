"""Plots of a sweep: the metrics of many members against the settings that were varied.

`members` says which members are left out, and which do not set a range.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_jax.plots.curves import settle
from vae_jax.plots.members import (
    EXTEND,
    Metric,
    amounts_of,
    caption_left_out,
    colour_bar,
    common_range,
    drawable,
    panel_axes,
    picked,
)
from vae_jax.plots.scales import Scale, Values, numbers, ranked, scale_of, shades
from vae_jax.plots.style import ACCENT, DPI, INK, METRIC_LABELS, QUIET, styled, text_width

if TYPE_CHECKING:
    # At run time only functions that draw import it, to spare other commands the time.
    import matplotlib.axes
    import matplotlib.cm
    import matplotlib.figure

# Most cells of a heat map whose means are printed.
_MOST_PRINTED = 100

# Length of a pointed end of a colour bar, as a part of the bar.
_POINT = 0.05


@styled
def metric_by_value(
    values: Values,
    metric: Metric,
    *,
    field: str,
    label: str,
    others: Mapping[str, Values] | None = None,
    joined: bool = True,
) -> "matplotlib.figure.Figure":
    """Plot a metric against one swept setting: members as dots, and lines of means over seeds.

    A line joins the members that agree in all other settings, so that no mean is over different
    settings. Each other setting has a panel, which shows the same members in its colours. The bars
    are one standard deviation of the sample (n - 1 in the denominator) to each side, for settings
    of at least two seeds. The axis is logarithmic for positive numbers over more than a decade.
    Categories have no lines, which would suggest an order; those of different colours are side by
    side.

    Args:
      values: value of the field of each member.
      metric: one number per member.
      field: name of the field.
      label: name of the metric, with its unit.
      others: the values of each other setting by its name, one per member. One that is constant, or
        that `values` determine, as on a zipped axis, has no panel.
      joined: whether there are means and lines; False for draws, as of a random search or TPE,
        where they would join unrelated settings.

    Raises:
      ValueError: the lengths differ, or no member has the metric.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import ScalarFormatter

    y = amounts_of(label, metric)
    others = others or {}
    kept = drawable({label: y}, [(field, values), *others.items()])
    scale = scale_of(picked(values, kept))
    y, num_members = y[kept], len(y)
    coloured = _free({name: scale_of(picked(own, kept)) for name, own in others.items()}, scale)
    if not joined:
        coloured = {}
    line_of = _groups([own.positions for own in coloured.values()], len(y))
    setting_of = _groups([scale.positions, line_of], len(y))
    is_shared = joined and bool((np.bincount(setting_of) > 1).any())

    dots = QUIET if joined else ACCENT
    figure = Figure(layout="constrained")
    panels: list[tuple[str, Scale | None]] = [*coloured.items()] or [("", None)]
    # Slanted labels reach below the axes by most of their length.
    below = 0.7 * max(map(text_width, scale.categories), default=0.0) / DPI
    all_axes = panel_axes(figure, len(panels), 4.2 + 0.5 * bool(coloured), max(2.8, 2.2 + below))
    for axes, (name, own) in zip(all_axes, panels, strict=True):
        colours = None if own is None else colour_bar(axes, own, name)
        num_lines = line_of.max() + 1
        for line in range(num_lines):
            chosen = line_of == line
            beside = (line + 0.5) / num_lines - 0.5 if scale.categories else 0.0
            positions = scale.positions[chosen] + 0.6 * beside
            colour: Any = ACCENT
            if own is not None and colours is not None:
                colour = colours.to_rgba(own.positions[chosen][0])
            axes.plot(
                positions,
                y[chosen],
                "o",
                color=dots if own is None else colour,
                alpha=0.6 if own is None else 0.4,
                markeredgewidth=0,
                label="member",
            )
            if joined:
                _draw_means(axes, scale, positions, y[chosen], colour)
        scale.lay_on(axes.xaxis, 0.04)
        axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
        axes.set_xlabel(field)
        axes.set_ylabel(label)
    handles = [Line2D([], [], color=dots, marker="o", linestyle="none", label="member")]
    if joined:
        name = "mean and standard deviation" if is_shared else "mean"
        colour = INK if coloured else ACCENT
        means = Line2D([], [], color=colour, marker="o", label=name)
        means.set_linestyle("none" if scale.categories else "-")
        handles.append(means)
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    caption_left_out(figure.axes[0], num_members - len(kept), num_members)
    return figure


def _draw_means(
    axes: "matplotlib.axes.Axes", scale: Scale, positions: np.ndarray, y: np.ndarray, colour: Any
) -> None:
    """Draw the mean of `y` at each position, with the deviation where several members have it."""
    own, group = np.unique(positions, return_inverse=True)
    counts = np.bincount(group)
    means = np.bincount(group, y) / counts
    squares = np.bincount(group, (y - means[group]) ** 2)
    deviations = np.sqrt(squares / np.maximum(1, counts - 1))
    axes.plot(
        own,
        means,
        color=colour,
        linestyle="none" if scale.categories else "-",
        marker="o",
        markersize=3,
        zorder=3,
        label="mean",
    )
    shared = counts > 1
    axes.errorbar(
        own[shared],
        means[shared],
        deviations[shared],
        fmt="none",
        ecolor=colour,
        elinewidth=0.9,
        capsize=2,
        zorder=3,
    )


def _groups(columns: Sequence[np.ndarray], num: int) -> np.ndarray:
    """Return the group `[num]` of each member, counted from 0: equal in all columns."""
    if not columns:
        return np.zeros(num, int)
    return np.unique(np.stack(columns), axis=1, return_inverse=True)[1].ravel()


def _free(scales: Mapping[str, Scale], given: Scale) -> dict[str, Scale]:
    """Return the scales whose values the values of `given` do not determine."""
    num = len(given.positions)
    num_given = len(np.unique(given.positions))
    return {
        name: own
        for name, own in scales.items()
        if _groups([given.positions, own.positions], num).max() + 1 > num_given
    }


@styled
def parallel_coordinates(
    columns: Mapping[str, Values], metric: Metric, label: str, maximize: bool = True
) -> "matplotlib.figure.Figure":
    """Return one line per member through its value of each field to its metric; darker is better.

    Each field has its own axis: logarithmic for positive numbers over more than a decade, or
    categories. The last axis is that of the metric and the colour bar, with pointed ends if members
    are outside it. Better members are drawn over worse ones, and the best one is thicker.

    Args:
      columns: the values of each field by its name, one per member; drawn in this order.
      metric: one number per member.
      label: name of the metric, with its unit.
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
    # From the worst to the best: later lines are drawn over earlier ones.
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
            # Among many members the worst fade, so that the lines of the good ones stay visible.
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
    # The pointed ends of the bar are outside the limits of the metric.
    below, above = (_POINT * is_pointed for is_pointed in ends)
    strip = axes.inset_axes(
        (len(columns), -below, 0.03 * len(columns), 1 + below + above), transform=axes.transData
    )
    bar = figure.colorbar(colours, cax=strip, extend=EXTEND[ends], extendfrac=_POINT)
    last.mark(bar)
    caption_left_out(axes, len(goal) - len(kept), len(goal), y=-0.06)
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
    others: Mapping[str, Values] | None = None,
) -> "matplotlib.figure.Figure":
    """Return the mean of a metric over the seeds of each pair of values of two swept fields.

    Darker is better. Where other settings vary, too, a cell has the best of their means, and the
    label of the colour bar names them. All cells have one size, independent of the distances of the
    values. A pair without members is blank. A map of at most a hundred cells has the numbers
    printed in them. The colour bar has pointed ends if a number is outside it.

    Args:
      x: value of the horizontal field of each member.
      y: value of the vertical field of each member.
      metric: one number per member.
      x_field: name of the horizontal field.
      y_field: name of the vertical field.
      label: name of the metric, with its unit.
      maximize: whether larger is better.
      others: the values of each other setting by its name, one per member.

    Raises:
      ValueError: the lengths differ, or no member has the metric.
    """
    from matplotlib.figure import Figure

    goal = amounts_of(label, metric)
    others = others or {}
    kept = drawable({label: goal}, [(x_field, x), (y_field, y), *others.items()])
    columns, rows = ranked(picked(x, kept)), ranked(picked(y, kept))
    shape = len(rows.categories), len(columns.categories)
    cells = np.ravel_multi_index((rows.positions.astype(int), columns.positions.astype(int)), shape)
    in_cell = Scale(cells.astype(float), (), False)
    free = _free({name: scale_of(picked(own, kept)) for name, own in others.items()}, in_cell)
    if free:
        label = f"{label}, best {', '.join(free)}"
    setting_of = _groups([cells, *(own.positions for own in free.values())], len(cells))
    setting_means = np.bincount(setting_of, goal[kept]) / np.bincount(setting_of)
    best = np.full(shape[0] * shape[1], -np.inf if maximize else np.inf)
    (np.maximum if maximize else np.minimum).at(best, cells, setting_means[setting_of])
    means = np.ma.masked_invalid(best.reshape(shape))
    low, high = common_range(means.compressed(), maximize)
    texts = _rounded(means.compressed(), high - low)
    is_printed = means.size <= _MOST_PRINTED

    room = max(map(text_width, texts)) / DPI if is_printed else 0.0
    width = max(1.4, shape[1] * max(room, min(0.5, 4.0 / shape[1])))
    height = shape[0] * max(0.2 * is_printed, min(0.34, 3.0 / shape[0]))
    # The upright labels beside the map must fit, too: they have 9 points, not 8 as in text_width.
    height = max(height, 9 / 8 * max(text_width(y_field), text_width(label)) / DPI + 0.1)
    # Slanted labels reach below the map by at least half their length.
    below = 0.7 * max(map(text_width, columns.categories)) / DPI
    figure = Figure(figsize=(width + 1.6, height + 0.5 + below), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.pcolormesh(
        np.arange(shape[1] + 1) - 0.5,
        np.arange(shape[0] + 1) - 0.5,
        means,
        cmap=shades().reversed() if maximize else shades(),
        vmin=low,
        vmax=high,
        edgecolors="white",
        linewidth=1.0 if is_printed else 0.0,
    )
    if is_printed:
        for (row, column), text in zip(np.argwhere(~means.mask), texts, strict=True):
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
    bar = figure.colorbar(drawn, ax=axes, fraction=0.06, pad=0.03, label=label, extend=EXTEND[ends])
    bar.outline.set_visible(False)
    caption_left_out(axes, len(goal) - len(kept), len(goal))
    return figure


@styled
def member_curves(
    curves: Sequence[Mapping[str, Any]],
    metric: str = "elbo",
    columns: Mapping[str, Values] | None = None,
    *,
    maximize: bool = True,
) -> "matplotlib.figure.Figure":
    """Return one metric on validation data against the epoch, one thin line per member.

    Each swept setting has a panel, which shows the same lines in its colours. Without settings the
    colour shows the metric at the last epoch: the best member is the darkest and drawn over the
    others. The range is chosen as for `compared_curves`. A member that diverged is drawn as far as
    its metric is finite.

    Args:
      curves: {"epoch": [epochs], metric: [epochs]} of each member.
      metric: the key of the metric.
      columns: the values of each setting by its name, one per member.
      maximize: whether a larger metric is better.

    Raises:
      ValueError: the lengths differ, or no member has a finite value of the metric.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    label = METRIC_LABELS.get(metric, metric.replace("_", " "))
    series = [_finite_series(curve, metric) for curve in curves]
    final = np.array([finite[-1] if len(finite) else np.nan for _, finite in series])
    columns = columns or {}
    kept = drawable({metric: final}, list(columns.items()))
    low, high = common_range(final[kept], maximize)
    ends = False, False
    if columns:
        scales = {name: scale_of(picked(own, kept)) for name, own in columns.items()}
    else:
        kept = kept[np.argsort(final[kept] if maximize else -final[kept], kind="stable")]
        scales = {f"last {label}": scale_of(np.clip(final[kept], low, high))}
        ends = bool(final[kept].min() < low), bool(final[kept].max() > high)

    figure = Figure(layout="constrained")
    for axes, (name, scale) in zip(
        panel_axes(figure, len(scales), 5.0, 2.8), scales.items(), strict=True
    ):
        best_is_dark = maximize and not columns
        colours = colour_bar(axes, scale, name, ends=ends, is_reversed=best_is_dark)
        for i, position in zip(kept, scale.positions, strict=True):
            axes.plot(
                *series[i],
                color=colours.to_rgba(position),
                linewidth=0.9 if len(kept) <= 64 else 0.5,
                alpha=0.85,
                # A line through one point is invisible.
                marker="o" if len(series[i][0]) == 1 else "",
            )
        settle([series[i] for i in kept if low <= final[i] <= high]).lay_on(axes)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"validation {label}")
    caption_left_out(figure.axes[0], len(final) - len(kept), len(final))
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

    Pruned trials are hollow and cannot be the best, since their value is that of an epoch before
    the last. Values outside the range are triangles at its edge.

    Args:
      values: value of each trial, in the order in which they began.
      label: name of the values, with their unit.
      pruned: whether each trial was pruned.
      maximize: whether larger is better.

    Raises:
      ValueError: the lengths differ, or no trial has a value.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    amounts = amounts_of(label, values)
    hollow = np.zeros(len(amounts), bool) if pruned is None else np.asarray(pruned, bool)
    kept = drawable({label: amounts}, [("pruned", hollow)])
    is_finite = np.isfinite(amounts)
    low, high = common_range(amounts[kept], maximize)
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    figure = Figure(figsize=(4.6, 2.8), layout="constrained")
    axes = figure.add_subplot()
    trials, edge = np.arange(len(amounts)), low - 0.5 * margin if maximize else high + 0.5 * margin
    is_near = (amounts >= low) & (amounts <= high)
    for is_hollow in (False, True):
        for marker, chosen in (
            ("o", is_finite & is_near & (hollow == is_hollow)),
            ("v" if maximize else "^", is_finite & ~is_near & (hollow == is_hollow)),
        ):
            axes.plot(
                trials[chosen],
                amounts[chosen] if marker == "o" else np.full(chosen.sum(), edge),
                marker,
                color=QUIET,
                markerfacecolor="white" if is_hollow else QUIET,
                markeredgewidth=0.8,
                # Matplotlib's legend leaves out labels that begin with an underscore.
                label=("" if marker == "o" and hollow.any() else "_")
                + ("pruned" if is_hollow else "trial"),
            )
    finished = np.where(is_finite & ~hollow, amounts, -np.inf if maximize else np.inf)
    best = (np.maximum if maximize else np.minimum).accumulate(finished)
    begun = np.isfinite(best)
    if begun.any():
        axes.step(
            trials[begun], best[begun], where="post", color=ACCENT, label="best so far", zorder=3
        )
    axes.set_xlim(-0.02 * len(amounts) - 0.5, 1.02 * len(amounts) - 0.5)
    axes.set_ylim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.set_xlabel("trial")
    axes.set_ylabel(label)
    figure.legend(loc="outside upper center", ncols=3)
    caption_left_out(axes, len(amounts) - len(kept), len(amounts), "trials")
    return figure


def _finite_series(curve: Mapping[str, Any], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the epochs with a finite metric, in order, and the metric there."""
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
    """Return numbers with enough decimals to show a thirtieth of `spread`."""
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
