"""The plots of the zoo: images by family, and the plane of quality and reconstruction."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from vae_jax.plots.images import as_rgb, picture, tiled
from vae_jax.plots.style import ACCENT, QUIET, styled, text_width

if TYPE_CHECKING:
    # Imported in the functions that draw: it is slow, and most programs draw nothing.
    import matplotlib.axes
    import matplotlib.figure

Images = Float[np.ndarray, "num height width channels"]

# Of the labels in the plane, in pixels of the file: their height, their least distance from a dot,
# and the distances and directions that are tried.
_LABEL_HEIGHT = 18.0
_GAP = 9.0
_STEP = 6.0
_NUM_STEPS = 40
_NUM_ANGLES = 16


@styled
def reconstructions_and_samples(
    test: Images, strips: Mapping[str, tuple[Images, Images | None]]
) -> "matplotlib.figure.Figure":
    """Return a row per family: its reconstructions of the test images above, and its samples.

    Args:
      test: test images, in the first row.
      strips: reconstructions and samples by label; None without samples.
    """
    blank = np.ones_like(test)
    rows = [(test, blank), *strips.values()]
    between = np.ones_like(test[:1])
    cells = [
        np.concatenate([left, between, blank if right is None else right]) for left, right in rows
    ]
    return picture(
        tiled(as_rgb(np.stack(cells))),
        row_labels=["test images", *strips],
        title="reconstructions on the left, samples on the right",
    )


class Point(NamedTuple):
    """A family in the plane, by seed.

    Attributes:
      errors: squared errors per pixel.
      distances: classifier Fréchet distances of the best sampler.
    """

    errors: Sequence[float]
    distances: Sequence[float]


@styled
def quality_plane(points: Mapping[str, Point]) -> "matplotlib.figure.Figure":
    """Plot the quality of samples against that of reconstructions, both better to the lower left.

    A dot is the mean of a family over its seeds, the bars are standard deviations. The axis of the
    distances is logarithmic.

    Args:
      points: by label.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    x, y = (np.array([np.mean(p[i]) for p in points.values()]) for i in (0, 1))
    x_bars, y_bars = (
        np.array([np.std(p[i], ddof=1) if len(p[i]) > 1 else 0.0 for p in points.values()])
        for i in (0, 1)
    )
    axes.errorbar(x, y, y_bars, x_bars, fmt="o", color=ACCENT, ecolor=QUIET, elinewidth=0.6)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.12)
    axes.set_xlabel("squared error per pixel")
    axes.set_ylabel("classifier Fréchet distance")
    figure.draw_without_rendering()
    dots = axes.transData.transform(np.stack([x, y], axis=1))
    sizes = np.array([(text_width(label), _LABEL_HEIGHT) for label in points])
    corners = free_corners(dots, sizes, np.array(axes.bbox.extents))
    for label, dot, corner in zip(points, dots, corners, strict=True):
        text = axes.annotate(
            label,
            tuple(dot),
            tuple(corner),
            xycoords="figure pixels",
            textcoords="figure pixels",
            fontsize=7,
            verticalalignment="bottom",
            bbox={"facecolor": "white", "linewidth": 0, "pad": 1, "alpha": 0.8},
            arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.5, "shrinkA": 0},
        )
        # The layout that the positions were found in stays.
        text.set_in_layout(False)
    return figure


def free_corners(
    dots: Float[np.ndarray, "num 2"],
    sizes: Float[np.ndarray, "num 2"],
    frame: Float[np.ndarray, " 4"],
) -> Float[np.ndarray, "num 2"]:
    """Return lower left corners of labels that cover neither dots nor each other, near their dots.

    Each label, from the lowest dot upwards, gets the nearest position that is free; if none is, the
    one that covers least.

    Args:
      dots: positions.
      sizes: widths and heights of the labels.
      frame: left, bottom, right and top of the area for labels.
    """
    blocked = np.concatenate([dots - _GAP / 2, dots + _GAP / 2], axis=1)
    corners = np.zeros_like(dots)
    angles = np.linspace(0, 2 * np.pi, _NUM_ANGLES, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    distances = _GAP + _STEP * np.arange(_NUM_STEPS)
    for index in np.argsort(dots[:, 1]):
        size = sizes[index]
        # The point of a label's box that faces the dot is at each distance from it, in turn.
        centres = dots[index] + (distances[:, None, None] + size / 2) * directions
        boxes = np.concatenate([centres - size / 2, centres + size / 2], axis=-1).reshape(-1, 4)
        covered = _overlaps(boxes, blocked).sum(axis=1) + _outside(boxes, frame)
        best = int(np.argmin(covered))
        corners[index] = boxes[best, :2]
        blocked = np.concatenate([blocked, boxes[best : best + 1]])
    return corners


def _overlaps(
    boxes: Float[np.ndarray, "num 4"], others: Float[np.ndarray, "others 4"]
) -> Float[np.ndarray, "num others"]:
    """Return the areas that boxes share with others, in square pixels."""
    first, last = boxes[:, None], others[None]
    sides = np.minimum(first[..., 2:], last[..., 2:]) - np.maximum(first[..., :2], last[..., :2])
    return np.maximum(sides, 0).prod(axis=-1)


def _outside(
    boxes: Float[np.ndarray, "num 4"], frame: Float[np.ndarray, " 4"]
) -> Float[np.ndarray, " num"]:
    """Return the areas of boxes outside a frame, in square pixels."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    return areas - _overlaps(boxes, frame[None])[:, 0]
