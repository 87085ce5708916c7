"""Plots of a study of disentanglement: methods, their strengths, metrics and importances."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vae_jax.plots.scales import shades
from vae_jax.plots.style import ACCENT, CLASS_COLOURS, INK, QUIET, require_finite, styled

if TYPE_CHECKING:
    # Imported in the functions that draw: it is slow, and most programs draw nothing.
    import matplotlib.axes
    import matplotlib.figure

# [strengths, seeds] of one method; NaN where a run has no value.
Scores = Float[np.ndarray, "strengths seeds"]

_MARKERS = "osD^vP"


@styled
def scores_by_strength(
    strengths: Mapping[str, Sequence[float]],
    symbols: Mapping[str, str],
    metrics: Mapping[str, Mapping[str, Scores]],
) -> "matplotlib.figure.Figure":
    """Plot metrics (rows) of methods (columns) by strength: seeds as dots, means as a line.

    The strengths of a method are evenly spaced; the panels of a row share the range of their
    metric.

    Args:
      strengths: of each method, from weak to strong.
      symbols: of the strength of each method.
      metrics: by the label of a metric and by method, `[strengths, seeds]`.

    Raises:
      ValueError: a metric has no finite value.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    num_rows, num_columns = len(metrics), len(strengths)
    size = (1.15 * num_columns + 0.6, 1.2 * num_rows + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(num_rows, num_columns, sharey="row", sharex="col", squeeze=False)
    for row, (label, by_method) in zip(panels, metrics.items(), strict=True):
        values = np.concatenate([by_method[method].ravel() for method in strengths])
        if not np.isfinite(values).any():
            raise ValueError(f"nothing to draw: no run has a finite {label}")
        for axes, method in zip(row, strengths, strict=True):
            scores = by_method[method]
            x = np.arange(len(scores))
            axes.plot(x, scores, "o", color=QUIET, alpha=0.6, markeredgewidth=0, markersize=3)
            # A strength all of whose runs diverged has no mean.
            whole = np.isfinite(scores).any(axis=1)
            means = np.nanmean(scores[whole], axis=1)
            axes.plot(x[whole], means, "-o", color=ACCENT, markersize=3, zorder=3)
            axes.set_xlim(-0.5, len(scores) - 0.5)
        row[0].set_ylabel(label)
        row[0].yaxis.set_major_locator(MaxNLocator(nbins=4))
    for axes, (method, own) in zip(panels[0], strengths.items(), strict=True):
        axes.set_title(method)
        axes.set_xticks(range(len(own)), [f"{strength:g}" for strength in own])
    for axes, method in zip(panels[-1], strengths, strict=True):
        axes.set_xlabel(symbols[method])
    figure.align_ylabels(panels[:, 0])
    return figure


@styled
def scores_by_distortion(
    distortion: Mapping[str, Scores], metrics: Mapping[str, Mapping[str, Scores]]
) -> "matplotlib.figure.Figure":
    """Plot disentanglement against distortion: one panel per metric, one colour per method.

    A faint marker is a run; the line joins the means of a method's strengths, from weak to strong.

    Args:
      distortion: by method, `[strengths, seeds]`, nats.
      metrics: by the label of a metric and by method, `[strengths, seeds]`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(metrics), 3.1), layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, (label, by_method) in zip(panels, metrics.items(), strict=True):
        looks = zip(distortion, CLASS_COLOURS, itertools.cycle(_MARKERS), strict=False)
        for method, colour, marker in looks:
            x, y = distortion[method], by_method[method]
            axes.plot(x.ravel(), y.ravel(), marker, color=colour, alpha=0.3, markeredgewidth=0)
            whole = np.isfinite(x + y).any(axis=1)
            means = np.nanmean(x[whole], axis=1), np.nanmean(y[whole], axis=1)
            axes.plot(*means, "-", marker=marker, color=colour, label=method, zorder=3)
        axes.set_xlabel("distortion (nats)")
        axes.set_ylabel(label)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(distortion)
    )
    return figure


@styled
def rank_correlations(
    names: Sequence[str], correlations: Float[np.ndarray, "metrics metrics"]
) -> "matplotlib.figure.Figure":
    """Plot Spearman's rank correlation of each pair of metrics, in per cent, once per pair.

    Raises:
      ValueError: a correlation is not finite.
    """
    from matplotlib.figure import Figure

    require_finite("correlations", correlations)
    # The matrix is symmetric, and 100 on its diagonal.
    is_shown = np.tril(np.ones(correlations.shape, bool), -1)[1:, :-1]
    cells = np.ma.masked_array(100 * correlations[1:, :-1], ~is_shown)
    side = 0.36 * len(cells)
    figure = Figure(figsize=(side + 2.2, side + 1.0), layout="constrained")
    axes = figure.add_subplot()
    # Two hues that differ for the colour-blind; the numbers have the sign on a grey print, too.
    drawn = axes.pcolormesh(
        cells, cmap="PuOr", vmin=-100, vmax=100, edgecolors="white", linewidth=1.0
    )
    for row, column in np.argwhere(is_shown):
        text = f"{cells[row, column]:.0f}".replace("-", "\N{MINUS SIGN}")
        luminance = np.dot([0.3, 0.6, 0.1], drawn.to_rgba(cells[row, column])[:3])
        ink = INK if luminance > 0.5 else "white"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7, color=ink)
    marks = np.arange(len(cells)) + 0.5
    axes.set_xticks(marks, names[:-1], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(marks, names[1:])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.03, label="rank correlation (%)")
    bar.set_ticks([-100, -50, 0, 50, 100])
    bar.outline.set_visible(False)
    return figure


@styled
def importance_matrices(
    matrices: Mapping[str, Float[np.ndarray, "latents factors"]], factor_names: Sequence[str]
) -> "matplotlib.figure.Figure":
    """Plot the importance of each latent for each factor, one panel per model.

    A panel has one row per factor and one column per latent, the most important first.

    Args:
      matrices: by title, not negative; a row of zeros is an uninformative latent.
      factor_names: of the columns of the matrices.
    """
    from matplotlib.figure import Figure

    widest = max(len(matrix) for matrix in matrices.values())
    size = (len(matrices) * 0.24 * widest + 2.0, 0.24 * len(factor_names) + 1.1)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(matrices), sharey=True, squeeze=False)[0]
    most = max(float(matrix.max()) for matrix in matrices.values())
    for axes, (title, matrix) in zip(panels, matrices.items(), strict=True):
        order = np.argsort(-matrix.sum(axis=1), kind="stable")
        drawn = axes.pcolormesh(
            matrix[order].T, cmap=shades(), vmin=0, vmax=most, edgecolors="white", linewidth=1.0
        )
        axes.set_xticks(np.arange(len(order)) + 0.5, [f"$z_{{{i}}}$" for i in order])
        axes.set_yticks(np.arange(len(factor_names)) + 0.5, factor_names)
        axes.set_title(title)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    panels[0].invert_yaxis()
    bar = figure.colorbar(drawn, ax=list(panels), fraction=0.05, pad=0.02, label="importance")
    bar.outline.set_visible(False)
    return figure
