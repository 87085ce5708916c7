"""Plots of anomaly detection."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from vae_jax.plots.style import ACCENT, require_finite, styled

if TYPE_CHECKING:
    # Imported in the functions that draw: it is slow, and most programs draw nothing.
    import matplotlib.figure

# The scores of normal and of anomalous images.
Scores = tuple[Float[np.ndarray, " normal"], Float[np.ndarray, " anomalous"]]

_COLUMNS = 4
_NUM_BINS = 60
# Quantiles shown of either kind; the tails would squeeze the rest together.
_DRAWN = (0.005, 0.995)


@styled
def score_histograms(
    scores: Mapping[str, Scores], normal_name: str, anomalous_name: str
) -> "matplotlib.figure.Figure":
    """Plot the distributions of each score over normal and anomalous images, one panel per score.

    A panel shows all but the lowest and highest half per cent of either kind.

    Args:
      scores: by title, of normal images and of anomalous ones.
      normal_name: name of the normal images.
      anomalous_name: name of the anomalous images.

    Raises:
      ValueError: a score is not finite.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    num_rows = -(-len(scores) // _COLUMNS)
    figure = Figure(figsize=(8.0, 1.65 * num_rows + 0.4), layout="constrained")
    panels = figure.subplots(num_rows, _COLUMNS, squeeze=False).ravel()
    for axes, (title, kinds) in zip(panels, scores.items(), strict=False):
        for values in kinds:
            require_finite(title, values)
        ends = np.concatenate([np.quantile(values, _DRAWN) for values in kinds])
        low, high = float(ends.min()), float(ends.max())
        bins = np.linspace(low, high if high > low else low + 1, _NUM_BINS + 1)
        # An area and an outline, which both stay visible where they overlap, also in print.
        kinds_of_look: tuple[tuple[str, str, dict[str, Any]], ...] = (
            (normal_name, "#c8c8c8", {}),
            (anomalous_name, ACCENT, {"histtype": "step", "linewidth": 1.2}),
        )
        for values, (name, colour, looks) in zip(kinds, kinds_of_look, strict=True):
            # Shares of all images of a kind, those beyond the ends of the panel too.
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, bins, weights=weights, color=colour, label=name, **looks)
        axes.set_title(title.replace("-", "\N{MINUS SIGN}", title.startswith("-")))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=3))
    for axes in panels[len(scores) :]:
        axes.set_visible(False)
    figure.supylabel("share of images", fontsize=9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure
