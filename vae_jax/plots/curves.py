"""Curves of one run or a few: metrics by epoch, and by level of corruption."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsFloat

import numpy as np
from jaxtyping import Float

from vae_jax.plots.scales import numbers
from vae_jax.plots.style import (
    ACCENT,
    CLASS_COLOURS,
    INK,
    METRIC_LABELS,
    QUIET,
    require_finite,
    styled,
)

if TYPE_CHECKING:
    # At run time only functions that draw import it, to spare other commands the time.
    import matplotlib.axes
    import matplotlib.figure


LAYER_METRIC = "rate_layer_"
# Nats.
_LEAST_RATE = 1e-4


@styled
def training_curves(records: Sequence[Mapping[str, Any]]) -> "matplotlib.figure.Figure":
    """Return ELBO, rate and distortion in nats against the epoch, on training and validation data.

    `records` are the lines of metrics.jsonl: "epoch", "split" ("train" or "valid") and metrics. A
    metric that no record has gets no panel: an autoencoder shows its distortion alone. All panels
    span the same number of nats, so that a small change looks small in each. With more than ten
    epochs the axes begin after the first tenth, whose range would hide the rest.
    """
    from matplotlib.figure import Figure

    series = {
        metric: {split: _series(records, split, metric) for split in ("train", "valid")}
        for metric in ("elbo", "rate", "distortion")
    }
    drawn = {
        metric: splits
        for metric, splits in series.items()
        if any(len(epochs) for epochs, _ in splits.values())
    }
    if not drawn:
        raise ValueError("no record of the splits train and valid holds elbo, rate or distortion")
    figure = Figure(figsize=(2.3 * len(drawn) + (1.2 if len(drawn) == 1 else 0), 2.2))
    figure.set_layout_engine("constrained")
    start = min(settle(list(splits.values())).start for splits in drawn.values())
    settled = {metric: settle(list(splits.values()), start) for metric, splits in drawn.items()}
    span = max(own.span for own in settled.values())
    for axes, (metric, splits) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True
    ):
        for split, colour in (("train", QUIET), ("valid", ACCENT)):
            _draw_series(axes, *splits[split], color=colour, label=split)
        settled[metric].lay_on(axes, span)
        axes.set_xlabel("epoch")
        axes.set_ylabel(METRIC_LABELS[metric])
    figure.axes[0].legend()
    return figure


@styled
def rates_by_layer(records: Sequence[Mapping[str, Any]]) -> "matplotlib.figure.Figure":
    """Return the rate of each stochastic layer in nats against the epoch, on a log scale.

    `records` are the lines of metrics.jsonl with "rate_layer_1", nearest to the image, and so on.
    Dark lines are layers near the image. The solid lines are those of validation data, if there are
    any, else of training data.

    Raises:
      ValueError: no record has the rate of a layer.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    num_layers = len(layer_metrics(records))
    if num_layers == 0:
        raise ValueError(f"no record holds {LAYER_METRIC}1, the rate of a layer")
    splits = {str(record["split"]) for record in records if f"{LAYER_METRIC}1" in record}
    figure = Figure(figsize=(5.0, 2.8), layout="constrained")
    axes = figure.add_subplot()
    colours = colormaps["viridis"](np.linspace(0, 0.92, num_layers))
    for metric, colour in zip(layer_metrics(records), colours, strict=True):
        epochs, rates = _series(records, "valid" if "valid" in splits else "train", metric)
        layer = metric.removeprefix(LAYER_METRIC)
        # Below a ten-thousandth of a nat a layer is unused, and the axis would show nothing else.
        _draw_series(axes, epochs, np.maximum(rates, _LEAST_RATE), color=colour, label=layer)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("epoch")
    axes.set_ylabel("rate of a layer (nats)")
    figure.legend(loc="outside right center", title="layer")
    return figure


def layer_metrics(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the metrics of layers in records, from the one nearest to the image."""
    known = {name for record in records for name in record if name.startswith(LAYER_METRIC)}
    return sorted(known, key=lambda name: int(name.removeprefix(LAYER_METRIC)))


@styled
def compared_curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], metric: str
) -> "matplotlib.figure.Figure":
    """Return one metric on validation data against the epoch, one line per run.

    `runs` has the records of each run by its name in the legend. With more than ten epochs in every
    run the axes begin after the first tenth of the shortest, whose range would hide the rest.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    series = {name: _series(records, "valid", metric) for name, records in runs.items()}
    empty = [name for name, (epochs, _) in series.items() if len(epochs) == 0]
    if empty or not series:
        raise ValueError(f"no validation record holds {metric!r} in the runs {empty}")
    figure = Figure(figsize=(5.0, 2.8), layout="constrained")
    axes = figure.add_subplot()
    # More than ten runs are a sweep, and lightness shows their order.
    colours: Any = (
        CLASS_COLOURS
        if len(series) <= len(CLASS_COLOURS)
        else colormaps["viridis"](np.linspace(0, 0.92, len(series)))
    )
    for colour, (name, (epochs, values)) in zip(colours, series.items(), strict=False):
        _draw_series(axes, epochs, values, color=colour, label=name)
    settle(list(series.values())).lay_on(axes)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation " + METRIC_LABELS.get(metric, metric.replace("_", " ")))
    figure.legend(loc="outside right center", ncols=-(-len(series) // 14))
    return figure


@styled
def overlaid_losses(
    runs: Mapping[str, Float[np.ndarray, "2 calls"]],
) -> "matplotlib.figure.Figure":
    """Return losses that should be the same in one panel, and their differences in another.

    `runs` has epochs and losses in nats of each run by its name in the legend. The others are
    compared with the first.
    """
    from matplotlib.figure import Figure

    reference = next(iter(runs.values()))
    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for index, (name, (epochs, values)) in enumerate(runs.items()):
        # Each line is thinner than the one below it, so that all are visible.
        line = {"color": CLASS_COLOURS[index], "linewidth": 4.5 - index}
        _draw_series(upper, epochs, values, label=name, **line)
        apart = np.abs(values - reference[1])
        if index:
            lower.semilogy(epochs, np.maximum(apart, 1e-7), color=CLASS_COLOURS[index])
    settle([(epochs, values) for epochs, values in runs.values()]).lay_on(upper)
    upper.set_ylabel("training loss (nats)")
    lower.set_ylabel("difference (nats)")
    lower.set_xlabel("epoch")
    upper.legend()
    return figure


@styled
def curves_by_level(
    levels: Float[np.ndarray, " levels"],
    curves: Mapping[str, Float[np.ndarray, " levels"]],
    trained_level: SupportsFloat | None,
    *,
    level_label: str,
    label: str,
    deviations: Mapping[str, Float[np.ndarray, " levels"]] | None = None,
) -> "matplotlib.figure.Figure":
    """Plot a metric of recovered images against the level of corruption, one curve per method.

    The first curve is that of the corrupted images themselves, the second the model's. The dashed
    line marks the level that the model was trained with, if it is one. `deviations` of each method
    are drawn as bars.
    """
    from matplotlib.figure import Figure

    for name, values in curves.items():
        require_finite(name, values)
    order = np.argsort(levels)
    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    axes = figure.add_subplot()
    if trained_level is not None:
        axes.axvline(
            float(trained_level), color=INK, linewidth=0.7, linestyle=(0, (4, 3)), label="_trained"
        )
        axes.annotate(
            f"trained at {float(trained_level):g}",
            (float(trained_level), 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            horizontalalignment="center",
            fontsize=8,
        )
    colours = (QUIET, ACCENT, *CLASS_COLOURS[1:])
    for (name, values), colour in zip(curves.items(), colours, strict=False):
        axes.plot(levels[order], values[order], "o-", color=colour, label=name)
        if deviations is not None:
            bars = deviations[name][order]
            axes.errorbar(
                levels[order], values[order], bars, fmt="none", elinewidth=0.8, ecolor=colour
            )
    axes.set_ylim(min(0, *(values.min() for values in curves.values())), None)
    if len(levels) <= 9:
        axes.set_xticks(levels[order], numbers(levels[order]))
    axes.set_xlabel(level_label)
    axes.set_ylabel(label)
    axes.legend()
    return figure


@styled
def accuracy_by_labels(
    panels: Mapping[str, Mapping[str, tuple[Sequence[int], Float[np.ndarray, "_seeds _labels"]]]],
    baselines: Sequence[str] = (),
) -> "matplotlib.figure.Figure":
    """Return accuracy in per cent against the number of labels, two panels per row.

    Each panel has, by the name of a representation, the numbers of labels, and the accuracies of
    each seed there, from 0 to 1, or NaN where a seed was not measured: the line is their mean, the
    bars one standard deviation. The names in `baselines`, at most two, are grey and dashed.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, NullLocator

    names = dict.fromkeys(name for lines in panels.values() for name in lines)
    learned = [name for name in names if name not in baselines]
    if not names or len(learned) > len(CLASS_COLOURS):
        raise ValueError(f"{len(learned)} representations; draw 1 to {len(CLASS_COLOURS)}")
    colours = dict(zip(learned, CLASS_COLOURS, strict=False))
    colours |= dict(zip(baselines, (INK, QUIET), strict=False))
    markers = dict(zip([*learned, *baselines], itertools.cycle("osD^vP"), strict=False))
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(6.6, 2.3 * rows + 0.2), layout="constrained")
    grid = figure.subplots(rows, min(2, len(panels)), squeeze=False, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, (title, lines) in zip(grid.flat, panels.items(), strict=False):
        ticks: set[int] = set()
        for name, (counts, accuracies) in lines.items():
            by_count = [column[~np.isnan(column)] for column in accuracies.T]
            deviations = [of_seeds.std(ddof=1) if len(of_seeds) > 1 else 0 for of_seeds in by_count]
            means = np.array([of_seeds.mean() for of_seeds in by_count])
            require_finite("accuracies", means)
            ticks |= set(counts)
            is_baseline = name in baselines
            axes.errorbar(
                counts,
                100 * means,
                100 * np.array(deviations) if any(deviations) else None,
                marker=markers[name],
                markersize=3,
                markerfacecolor="white" if is_baseline else None,
                elinewidth=0.8,
                linestyle="--" if is_baseline else "-",
                color=colours[name],
                label=name,
            )
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        # Slanted, since the names of 600 and 1,000 would touch.
        axes.set_xticks(
            sorted(ticks),
            [f"{tick:,}" for tick in sorted(ticks)],
            rotation=45,
            ha="right",
            rotation_mode="anchor",
        )
        axes.set_title(title)
    for axes in grid[:, 0]:
        axes.set_ylabel("test accuracy (%)")
    for axes in grid[-1]:
        axes.set_xlabel("labels")
    drawn: dict[str, Any] = {}
    for axes in grid.flat[: len(panels)]:
        handles, labels = axes.get_legend_handles_labels()
        drawn |= dict(zip(labels, handles, strict=True))
    # The baselines come last.
    shown = [name for name in markers if name in drawn]
    figure.legend([drawn[name] for name in shown], shown, loc="outside right center")
    return figure


def _series(
    records: Sequence[Mapping[str, Any]], split: str, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the epochs in order and the finite values of `metric` there, both `[epochs]`."""
    # A resumed run may have two records of an epoch; the later one counts.
    values = {
        float(record["epoch"]): float(record[metric])
        for record in records
        if record.get("split") == split and record.get(metric) is not None
    }
    finite = sorted((epoch, value) for epoch, value in values.items() if np.isfinite(value))
    epochs_and_values = np.array(finite, dtype=float).reshape(-1, 2)
    return epochs_and_values[:, 0], epochs_and_values[:, 1]


def _draw_series(
    axes: "matplotlib.axes.Axes", epochs: np.ndarray, values: np.ndarray, **line: Any
) -> None:
    from matplotlib.ticker import MaxNLocator

    if len(epochs):
        # A line through one point is invisible, and one through a few hides their number.
        axes.plot(epochs, values, marker="o" if len(epochs) <= 10 else "", **line)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))


class Settled(NamedTuple):
    """The part of some curves that sets the range of their axes.

    Attributes:
      start: the first epoch.
      low: the smallest value from there on.
      high: the largest.
      is_cut: whether there are earlier epochs.
    """

    start: float
    low: float
    high: float
    is_cut: bool

    @property
    def span(self) -> float:
        """The length of the range of values that is drawn, without margins."""
        # Less than a fiftieth of the values themselves would enlarge noise.
        return max(self.high - self.low, 0.02 * max(abs(self.low), abs(self.high)))

    def lay_on(self, axes: "matplotlib.axes.Axes", span: float = 0.0) -> None:
        """Give the axes this range and a margin, and say where they begin if there is more.

        Args:
          axes: the axes, with all their lines.
          span: the least length of the range of values.
        """
        length = max(span, self.span)
        missing = (length - (self.high - self.low)) / 2
        margin = 0.06 * length or 1.0
        bottom, top = self.low - missing - margin, self.high + missing + margin
        # A rate is not negative, and neither is its axis.
        raised = max(0.0, -margin - bottom) if self.low >= 0 else 0.0
        axes.set_ylim(bottom + raised, top + raised)
        if self.is_cut:
            axes.set_xlim(left=self.start)
            text = f"from epoch {self.start:g} on"
            axes.set_title(text, loc="left", fontsize=7, color=QUIET, pad=3)


def settle(series: Sequence[tuple[np.ndarray, np.ndarray]], start: float | None = None) -> Settled:
    """Return the range of curves without their first epochs.

    Args:
      series: epochs and values of each curve; some may be empty.
      start: the first epoch that counts. By default it is the end of the first tenth of the
        shortest curve, and of a curve of at most ten epochs its first one, so that no curve loses
        more than its first tenth.
    """
    lengths = [epochs for epochs, _ in series if len(epochs)]
    if start is None:
        start = min(
            epochs[0] + 0.1 * (len(epochs) > 10) * (epochs[-1] - epochs[0]) for epochs in lengths
        )
    epochs = np.concatenate([epochs for epochs, _ in series])
    values = np.concatenate([values for _, values in series])
    # The axes begin at a point of a curve, so that its line does not cross their edge.
    start = float(epochs[epochs >= start].min())
    shown = values[epochs >= start]
    return Settled(start, float(shown.min()), float(shown.max()), bool((epochs < start).any()))
