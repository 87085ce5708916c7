"""Plots of latent spaces: codes in the plane, principal components, KL by dimension."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsFloat

import numpy as np
from jaxtyping import Float, Num

from vae_jax.plots.style import ACCENT, CLASS_COLOURS, INK, QUIET, require_finite, styled

if TYPE_CHECKING:
    # At run time only functions that draw import it, to spare other commands the time.
    import matplotlib.axes
    import matplotlib.figure


@styled
def latent_map(
    points: Float[np.ndarray, "n 2"],
    labels: Num[np.ndarray, " n"] | None = None,
    axis_labels: tuple[str, str] = ("$z_1$", "$z_2$"),
    title: str = "",
) -> "matplotlib.figure.Figure":
    """Return codes in the plane: two latents, or two principal components of many.

    Up to ten different whole numbers as labels are classes and get a colour and a legend; others
    are amounts and get a colour bar. Both axes have the same scale.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.5 if labels is None else 4.0, 3.5), layout="constrained")
    axes = figure.add_subplot()
    _scatter_maps(figure, [(axes, points, labels)])
    axes.set_xlabel(axis_labels[0])
    axes.set_ylabel(axis_labels[1])
    axes.set_title(title)
    return figure


@styled
def latent_maps_side_by_side(
    panels: Sequence[tuple[str, Float[np.ndarray, "_ 2"], Num[np.ndarray, " _"] | None]],
) -> "matplotlib.figure.Figure":
    """Return several maps, each (title, points, labels), in one row, to compare objectives.

    Every panel has its own range; its axes have the same scale. The dashed circle has radius 2, two
    standard deviations of a unit normal prior.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    if not panels:
        raise ValueError("no panels to draw")
    figure = Figure(figsize=(2.2 * len(panels) + 0.5, 2.5), layout="compressed")
    all_axes = list(figure.subplots(1, len(panels), squeeze=False)[0])
    _scatter_maps(
        figure,
        [
            (axes, points, labels)
            for axes, (_, points, labels) in zip(all_axes, panels, strict=True)
        ],
    )
    for axes, (title, _, _) in zip(all_axes, panels, strict=True):
        # The range has the whole circle: collapsed codes are a dot inside it.
        for colour, width, dashes in (("white", 1.8, "-"), (INK, 0.7, (0, (4, 3)))):
            axes.add_patch(
                Circle((0, 0), 2, fill=False, edgecolor=colour, linewidth=width, linestyle=dashes)
            )
        axes.set_title(title)
    return figure


@styled
def kl_by_dimension(
    kl: Float[np.ndarray, " latents"], active_threshold: SupportsFloat | None = None
) -> "matplotlib.figure.Figure":
    """Return KL(q(z_i|x) || p(z_i)) of each latent dimension i in nats, the largest first.

    With `active_threshold` (nats) the dimensions below it are grey, and the title counts the
    others.
    """
    from matplotlib.figure import Figure

    require_finite("kl", kl)
    order = np.argsort(-kl, kind="stable")
    active = (
        np.ones(len(kl), bool) if active_threshold is None else kl[order] > float(active_threshold)
    )
    figure = Figure(figsize=(4.6, 2.5), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(
        np.arange(len(kl)), kl[order], width=0.8, color=np.where(active, ACCENT, QUIET).tolist()
    )
    axes.set_xlim(-0.8, len(kl) - 0.2)
    axes.set_ylabel("KL (nats)")
    if len(kl) <= 32:
        axes.set_xticks(np.arange(len(kl)), [str(i) for i in order])
        axes.tick_params(axis="x", length=0, labelsize=8 if len(kl) <= 20 else 6)
        axes.set_xlabel("latent dimension")
    else:
        axes.set_xlabel("latent dimensions, sorted")
    title = f"{kl.sum():.1f} nats in {len(kl)} dimensions"
    if active_threshold is not None:
        title += f", {active.sum()} above {float(active_threshold):g} nats"
    axes.set_title(title)
    return figure


def _scatter_maps(
    figure: "matplotlib.figure.Figure",
    maps: "Sequence[tuple[matplotlib.axes.Axes, np.ndarray, np.ndarray | None]]",
) -> None:
    """Scatter the points of each (axes, points, labels), with one legend for all."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, to_rgba_array
    from matplotlib.lines import Line2D

    all_labels = [labels for _, _, labels in maps if labels is not None and len(labels)]
    classes = np.unique(np.concatenate(all_labels)) if all_labels else np.empty(0)
    are_classes = len(classes) <= len(CLASS_COLOURS) and bool((classes == classes // 1).all())
    # A digit keeps its colour even if some of the ten are missing.
    if len(classes) and classes[0] >= 0 and classes[-1] < len(CLASS_COLOURS) and are_classes:
        class_colours = to_rgba_array(CLASS_COLOURS)[classes.astype(int)]
    else:
        class_colours = to_rgba_array(CLASS_COLOURS)
    amounts = ScalarMappable(
        Normalize(*(classes[[0, -1]] if len(classes) else (0, 1))), cmap="viridis"
    )

    for axes, points, labels in maps:
        require_finite("points", points)
        if labels is None:
            colours: np.ndarray = np.tile(to_rgba_array(ACCENT), (len(points), 1))
        elif are_classes:
            colours = class_colours[np.searchsorted(classes, labels)]
        else:
            colours = amounts.to_rgba(labels)
        # In random order: in the data's order the last class may cover the others.
        order = np.random.default_rng(0).permutation(len(points))
        axes.scatter(
            points[order, 0],
            points[order, 1],
            s=float(np.clip(12_000 / max(1, len(points)), 1.5, 12)),
            c=colours[order],
            alpha=0.65,
            linewidths=0,
            # As vectors, thousands of points make a PDF that no viewer opens quickly.
            rasterized=True,
        )
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_box_aspect(1)

    if not all_labels:
        return
    if are_classes:
        dots = [
            Line2D([], [], linestyle="", marker="o", color=colour, label=f"{value:g}")
            for value, colour in zip(classes, class_colours, strict=False)
        ]
        figure.legend(handles=dots, loc="outside right center", handletextpad=0.1)
    else:
        figure.colorbar(
            amounts, ax=[axes for axes, _, _ in maps], fraction=0.05, pad=0.02, label="label"
        )
