"""Plots of the quality of generated images, by sampler."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vae_jax.plots.labels import label_dots
from vae_jax.plots.style import CLASS_COLOURS, INK, QUIET, require_finite, styled

if TYPE_CHECKING:
    # Imported in the functions that draw: it is slow, and most programs draw nothing.
    import matplotlib.figure

# [seeds, temperatures] of one sampler.
ByTemperature = Float[np.ndarray, "seeds temperatures"]

_MARKERS = "osD^vP"


@styled
def quality_by_temperature(
    temperatures: Sequence[float],
    metrics: Mapping[str, Mapping[str, ByTemperature]],
    references: Mapping[str, Mapping[str, float]],
) -> "matplotlib.figure.Figure":
    """Plot metrics against the temperature, one panel per metric, one colour per sampler.

    The line joins means over seeds; the bars are standard deviations. Dashed and dotted lines are
    the references, which no sampler drew.

    Args:
      temperatures: of the columns.
      metrics: by the label of a metric and by sampler, `[seeds, temperatures]`.
      references: by name and by the label of a metric.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.35 * len(metrics), 2.7), layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, (label, by_sampler) in zip(panels, metrics.items(), strict=True):
        for (name, by_metric), dashes in zip(
            references.items(), ((0, (4, 3)), (0, (1, 2))), strict=False
        ):
            axes.axhline(by_metric[label], color=INK, linewidth=0.8, linestyle=dashes, label=name)
        for (sampler, values), colour, marker in zip(
            by_sampler.items(), CLASS_COLOURS, _MARKERS, strict=False
        ):
            require_finite(label, values)
            axes.errorbar(
                temperatures,
                values.mean(axis=0),
                values.std(axis=0, ddof=1) if len(values) > 1 else None,
                color=colour,
                marker=marker,
                elinewidth=0.8,
                capsize=2,
                label=sampler,
            )
        axes.set_ylim(0, None)
        axes.set_xticks(temperatures, [f"{temperature:g}" for temperature in temperatures])
        axes.set_xlabel("temperature")
        axes.set_title(label)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


@styled
def precision_recall_plane(
    temperatures: Sequence[float],
    precision: Mapping[str, ByTemperature],
    recall: Mapping[str, ByTemperature],
    references: Mapping[str, tuple[float, float]],
) -> "matplotlib.figure.Figure":
    """Plot precision against recall, one line per sampler, its markers labelled by temperature.

    Faint markers are seeds, the line joins their means. `references` are the precision and recall
    of images that no sampler drew, by name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    dots, texts, obstacles = [], [], []
    for sampler, colour, marker in zip(precision, CLASS_COLOURS, _MARKERS, strict=False):
        x, y = recall[sampler], precision[sampler]
        axes.plot(x.ravel(), y.ravel(), marker, color=colour, alpha=0.3, markeredgewidth=0)
        means = np.stack([x.mean(axis=0), y.mean(axis=0)], axis=1)
        axes.plot(*means.T, "-", marker=marker, color=colour, label=sampler)
        dots.append(means)
        texts += [f"{temperature:g}" for temperature in temperatures]
        obstacles += [np.stack([x.ravel(), y.ravel()], axis=1), _along(means)]
    for (name, (at_precision, at_recall)), marker in zip(references.items(), "*X", strict=False):
        axes.plot(
            at_recall, at_precision, marker, color=INK, markersize=7, label=name, linestyle=""
        )
        obstacles.append(np.array([[at_recall, at_precision]]))
    axes.margins(0.08)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    figure.legend(loc="outside upper center", ncols=3)
    axes.set_title("numbers are temperatures", loc="right", fontsize=7, color=QUIET, pad=3)
    label_dots(figure, axes, np.concatenate(dots), texts, obstacles=np.concatenate(obstacles))
    return figure


def _along(points: Float[np.ndarray, "num 2"]) -> Float[np.ndarray, "steps 2"]:
    """Return points close to one another on the line through the given ones."""
    steps = np.linspace(0, len(points) - 1, 20 * len(points))
    ends = np.arange(len(points))
    return np.stack([np.interp(steps, ends, column) for column in points.T], axis=1)


@styled
def nearest_distances(
    test: Float[np.ndarray, " test"], by_sampler: Mapping[str, Float[np.ndarray, " generated"]]
) -> "matplotlib.figure.Figure":
    """Plot the cumulative distribution of distances to the nearest training image.

    A line that rises far to the left of the test images' line shows copies, or blurred images.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    axes = figure.add_subplot()
    lines = {"test images": (test, QUIET, 3.0)}
    lines |= {
        sampler: (distances, colour, 1.4)
        for (sampler, distances), colour in zip(by_sampler.items(), CLASS_COLOURS, strict=False)
    }
    for name, (distances, colour, width) in lines.items():
        axes.ecdf(distances, color=colour, linewidth=width, label=name)
    axes.set_xlim(0, None)
    axes.set_xlabel("distance to the nearest training image")
    axes.set_ylabel("share of images")
    axes.legend()
    return figure
