"""The plot of factors read from edited images by degree."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_jax.applications.editing.attribute_vectors import CONDITIONAL
from vae_jax.plots.style import CLASS_COLOURS, INK, require_finite, styled

if TYPE_CHECKING:
    # Imported in the functions that draw: it is slow, and most programs draw nothing.
    import matplotlib.figure

_TITLES = {"added": "put on images without it", "removed": "taken off images with it"}


@styled
def factor_curves(
    rows: Sequence[dict[str, Any]], method: str = CONDITIONAL
) -> "matplotlib.figure.Figure":
    """Plot the per cent of images read with the value, and of unchanged factors, by degree.

    Lines are means over seeds, bands one standard deviation.

    Args:
      rows: of `factor_editing.measure`.
      method: whose rows are drawn.

    Raises:
      ValueError: a share is not finite.
    """
    from matplotlib.figure import Figure

    drawn = [row for row in rows if row["method"] == method]
    degrees = np.array(drawn[0]["degrees"])
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    for axes, (part, title) in zip(
        figure.subplots(1, 2, sharey=True), _TITLES.items(), strict=True
    ):
        lines = {f"read as {drawn[0]['attribute']}": [row[part]["read"] for row in drawn]}
        for name in drawn[0][part]["unchanged"]:
            lines[f"{name} unchanged"] = [row[part]["unchanged"][name] for row in drawn]
        for (name, shares), colour in zip(lines.items(), [INK, *CLASS_COLOURS], strict=False):
            curves = 100 * np.array(shares)
            require_finite(name, curves)
            mean = curves.mean(axis=0)
            axes.plot(degrees, mean, color=colour, label=name)
            if len(curves) > 1:
                spread = curves.std(axis=0, ddof=1)
                axes.fill_between(
                    degrees, mean - spread, mean + spread, color=colour, alpha=0.25, lw=0
                )
        axes.set_title(title)
        axes.set_xlabel("degree")
        axes.set_ylim(-2, 102)
    figure.axes[0].set_ylabel("images (%)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure
