"""The rate-distortion plane of a sweep, and the lower convex hull of its members there."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from vae_jax.plots.members import (
    Metric,
    amounts_of,
    caption_left_out,
    colour_bar,
    drawable,
    panel_axes,
    picked,
)
from vae_jax.plots.scales import Values, scale_of
from vae_jax.plots.style import ACCENT, INK, METRIC_LABELS, QUIET, styled, text_width

if TYPE_CHECKING:
    # At run time only functions that draw import it, to spare other commands the time.
    import matplotlib.axes
    import matplotlib.figure


# Height of a diagonal's label in pixels of the file.
_LABEL_HEIGHT = 24


def lower_convex_hull(rate: Metric, distortion: Metric) -> Int[np.ndarray, " vertices"]:
    """Return the members at the vertices of the lower convex hull in the rate-distortion plane.

    No member lies below the hull. It falls, ever less steeply, from the member with the smallest
    rate to that with the smallest distortion. Any point of it is reached by coding each image with
    one of two members at random.

    Args:
      rate: rate of each member, in nats.
      distortion: distortion of each member, in nats.

    Returns:
      Indices into `rate`, by increasing rate. A member on the line between two others is no vertex;
      of equal members only the first is.

    Raises:
      ValueError: the lengths differ, or no member has both numbers.
    """
    x, y = amounts_of("rate", rate), amounts_of("distortion", distortion)
    kept = drawable({"rate": x, "distortion": y})
    # By rate, then distortion, then index.
    order = kept[np.lexsort((kept, y[kept], x[kept]))]
    vertices: list[int] = []
    for i in order:
        if vertices and y[i] >= y[vertices[-1]]:
            continue  # From here the hull would rise.
        while len(vertices) > 1:
            a, b = vertices[-2:]
            if (x[b] - x[a]) * (y[i] - y[a]) > (y[b] - y[a]) * (x[i] - x[a]):
                break
            vertices.pop()
        vertices.append(int(i))
    return np.array(vertices)


@styled
def rate_distortion(
    rate: Metric,
    distortion: Metric,
    columns: Mapping[str, Values] | None = None,
) -> "matplotlib.figure.Figure":
    """Return the rate-distortion plane, one dot per member, with the lower convex hull.

    The faint diagonals are lines of equal ELBO = -(distortion + rate): members on the same line
    have equal bounds and may use their latents very differently. After Alemi et al., "Fixing a
    Broken ELBO" (2018), arXiv:1711.00464.

    Args:
      rate: E[KL(q(z|x) || p(z))] of each member, in nats.
      distortion: E[-log p(x|z)] of each member, in nats.
      columns: the values of each swept setting by its name, one per member. Each setting has a
        panel, which shows the same members in its colours; members with equal values, such as those
        of several seeds, have one colour. The colours of positive numbers over more than a decade
        are logarithmic; values that are not numbers have one colour per category.

    Raises:
      ValueError: the lengths differ, or no member has both a rate and a distortion.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    x, y = amounts_of("rate", rate), amounts_of("distortion", distortion)
    columns = columns or {}
    kept = drawable({"rate": x, "distortion": y}, list(columns.items()))
    hull = lower_convex_hull(x, y)
    figure = Figure(layout="constrained")
    panels: list[tuple[str, Values | None]] = [*columns.items()] or [("", None)]
    all_axes = panel_axes(figure, len(panels), 4.9 if columns else 4.2, 3.6)
    for axes, (name, values) in zip(all_axes, panels, strict=True):
        colours: Any = ACCENT
        if values is not None:
            scale = scale_of(picked(values, kept))
            colours = colour_bar(axes, scale, name).to_rgba(scale.positions)
        axes.plot(x[hull], y[hull], color=INK, linewidth=1.0, zorder=1.5)
        axes.scatter(
            x[kept], y[kept], s=20, c=colours, edgecolors="white", linewidths=0.4, zorder=2
        )
        axes.margins(0.07)
        axes.set_xlabel(METRIC_LABELS["rate"])
        axes.set_ylabel(METRIC_LABELS["distortion"])
    caption_left_out(all_axes[0], len(x) - len(kept), len(x))
    figure.legend(
        handles=[
            Line2D([], [], color=INK, linewidth=1.0, label="lower convex hull"),
            Line2D([], [], color=QUIET, linewidth=0.6, label="equal ELBO (nats)"),
        ],
        loc="outside upper center",
        ncols=2,
    )
    along_hull = np.linspace(x[hull[0]], x[hull[-1]], 300)
    obstacles = np.concatenate(
        [
            np.stack([x[kept], y[kept]], axis=1),
            np.stack([along_hull, np.interp(along_hull, x[hull], y[hull])], axis=1),
        ]
    )
    for axes in all_axes:
        _draw_lines_of_equal_elbo(figure, axes, obstacles)
    return figure


def _draw_lines_of_equal_elbo(
    figure: "matplotlib.figure.Figure", axes: "matplotlib.axes.Axes", obstacles: np.ndarray
) -> None:
    """Draw diagonals in the background, each with its ELBO where there is room.

    Args:
      figure: the figure, which is laid out here, since free space is found in pixels.
      axes: the axes of rate and distortion, whose ranges do not change.
      obstacles: rates and distortions `[n, 2]` that no label may cover.
    """
    from matplotlib.ticker import MaxNLocator

    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    axes.set(xlim=(left, right), ylim=(bottom, top))
    figure.draw_without_rendering()
    frame, blocked = axes.bbox, axes.transData.transform(obstacles)
    for nats in MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]).tick_values(left + bottom, right + top):
        rates = np.array([max(left, nats - top), min(right, nats - bottom)])
        if rates[0] >= rates[1]:
            continue
        axes.plot(rates, nats - rates, color=QUIET, linewidth=0.5, alpha=0.7, zorder=0.5)
        label = f"{-nats:g}".replace("-", "\N{MINUS SIGN}")
        ends = axes.transData.transform(np.stack([rates, nats - rates], axis=1))
        length = float(np.linalg.norm(ends[1] - ends[0]))
        # The width is that of 8 points and the label has 7, which leaves a margin.
        width = text_width(label)
        slope = (ends[1] - ends[0]) / length
        middles = ends[0] + np.linspace(1, 0, 60)[:, None] * (ends[1] - ends[0])
        half = np.array([width, _LABEL_HEIGHT]) @ np.abs([slope, slope[::-1]]) / 2
        is_inside = ((middles > frame.min + half) & (middles < frame.max - half)).all(axis=1)
        middles = middles[is_inside]
        if len(middles) == 0:
            continue
        covered = middles[:, None] + np.linspace(-0.5, 0.5, 5)[:, None] * width * slope
        room = np.linalg.norm(covered[:, :, None] - blocked, axis=3).min(axis=(1, 2))
        # The first position with enough room, so that most labels are in a row at the lower right.
        x, y = axes.transData.inverted().transform(middles[np.argmax(np.minimum(room, 30))])
        axes.text(
            x,
            y,
            label,
            rotation=float(np.degrees(np.arctan2(slope[1], slope[0]))),
            ha="center",
            va="center",
            fontsize=7,
            color="#777777",
            zorder=0.6,
            bbox={"facecolor": "white", "linewidth": 0, "pad": 2},
        )
