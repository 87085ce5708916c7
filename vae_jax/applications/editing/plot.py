"""Plots of latent arithmetic: metrics of edited images against the degree."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from vae_jax.plots.style import ACCENT, CLASS_COLOURS, INK, QUIET, require_finite, styled

if TYPE_CHECKING:
    # Imported in the functions that draw: it is slow, and most programs draw nothing.
    import matplotlib.axes
    import matplotlib.figure

# One value per seed and degree.
Curve = Float[np.ndarray, "seeds degrees"]

_LOOKS: tuple[dict[str, Any], ...] = (
    {"color": ACCENT},
    {"color": CLASS_COLOURS[1]},
    {"color": ACCENT, "linestyle": (0, (1.5, 1.5))},
    {"color": CLASS_COLOURS[1], "linestyle": (0, (1.5, 1.5))},
)


@styled
def attribute_curves(
    degrees: Float[np.ndarray, " degrees"],
    panels: Mapping[str, Mapping[str, Mapping[str, Curve]]],
    groups_apart: Mapping[str, float],
) -> "matplotlib.figure.Figure":
    """Plot metrics of the edited images (rows) by the attribute that is added (columns).

    A line is the mean over seeds, the band one standard deviation to either side. The panels of a
    row share their range, so that side effects are seen in their true size. The thin line in the
    panel of the attribute itself shows a change by as much per degree as the two groups of training
    images differ.

    Args:
      degrees: ascending, with 0 among them.
      panels: by the label of a row, the attribute added and the name of a line, at most four.
      groups_apart: by attribute, the difference of the groups of training images; a row whose
        label begins with the attribute has the thin line.

    Raises:
      ValueError: a value is not finite.
    """
    from matplotlib.figure import Figure

    attributes = list(groups_apart)
    figure = Figure(
        figsize=(2.1 * len(attributes) + 0.5, 1.45 * len(panels) + 0.5), layout="constrained"
    )
    grid = figure.subplots(len(panels), len(attributes), sharex=True, sharey="row", squeeze=False)
    for row, (label, by_attribute) in zip(grid, panels.items(), strict=True):
        for axes, attribute in zip(row, attributes, strict=True):
            lines = by_attribute[attribute]
            axes.axvline(0, color=QUIET, linewidth=0.5, zorder=0)
            if label.startswith(attribute):
                zero = next(iter(lines.values()))[:, degrees == 0].mean()
                ends = zero - groups_apart[attribute], zero + groups_apart[attribute]
                axes.plot((-1, 1), ends, color=INK, linewidth=0.7, label="as the groups differ")
            for look, (name, curve) in zip(_LOOKS, lines.items(), strict=False):
                require_finite(f"{label}, {name}", curve)
                _draw(axes, degrees, curve, look, name)
        row[0].set_ylabel(label)
    for axes, attribute in zip(grid[0], attributes, strict=True):
        axes.set_title(f"{attribute} added")
    for axes in grid[-1]:
        axes.set_xlabel("degree")
        axes.set_xticks(np.unique(np.round(degrees)))
    figure.align_ylabels(grid[:, 0])
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


@styled
def class_curves(
    degrees: Float[np.ndarray, " degrees"],
    panels: Mapping[str, Mapping[str, Curve]],
    classes: Sequence[str],
) -> "matplotlib.figure.Figure":
    """Plot the per cent of other classes' images that have become a class, against the degree.

    Args:
      degrees: ascending.
      panels: by title and by class, shares of each seed from 0 to 1.
      classes: at most ten.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.7 * len(panels) + 0.8, 2.6), layout="constrained")
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, lines) in zip(row, panels.items(), strict=True):
        for name, colour in zip(classes, CLASS_COLOURS, strict=False):
            require_finite(f"{title}, {name}", lines[name])
            _draw(axes, degrees, 100 * lines[name], {"color": colour}, name)
        axes.set_title(title)
        axes.set_xlabel("degree")
        axes.set_ylim(0, 100)
    row[0].set_ylabel("recognised as the class made (%)")
    figure.legend(
        *row[0].get_legend_handles_labels(), loc="outside right center", title="class made"
    )
    return figure


def _draw(
    axes: "matplotlib.axes.Axes",
    degrees: np.ndarray,
    curve: np.ndarray,
    look: Mapping[str, Any],
    name: str,
) -> None:
    mean = curve.mean(axis=0)
    axes.plot(degrees, mean, label=name, **look)
    if len(curve) > 1:
        deviation = curve.std(axis=0, ddof=1)
        axes.fill_between(
            degrees, mean - deviation, mean + deviation, color=look["color"], alpha=0.25, lw=0
        )
