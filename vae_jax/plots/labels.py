"""Labels beside dots that cover neither the dots nor one another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vae_jax.plots.style import QUIET, text_width

if TYPE_CHECKING:
    # At run time only functions that draw import it, to spare other commands the time.
    import matplotlib.axes
    import matplotlib.figure

# Of the labels in pixels of the file: their height, their least distance from a dot,
# and the distances and directions that are tried.
_LABEL_HEIGHT = 18.0
_GAP = 9.0
_STEP = 6.0
_NUM_STEPS = 40
_NUM_ANGLES = 16


def label_dots(
    figure: "matplotlib.figure.Figure",
    axes: "matplotlib.axes.Axes",
    dots: Float[np.ndarray, "num 2"],
    labels: Sequence[str],
    *,
    obstacles: Float[np.ndarray, "obstacles 2"] | None = None,
) -> None:
    """Write a label near each dot, joined to it by a thin line.

    Args:
      figure: the figure, which is laid out here, since free space is found in pixels.
      axes: the axes, whose ranges do not change afterwards.
      dots: positions in the units of the axes.
      labels: a text per dot.
      obstacles: further positions that no label may cover.
    """
    figure.draw_without_rendering()
    pixels = axes.transData.transform(dots)
    others = None if obstacles is None else axes.transData.transform(obstacles)
    sizes = np.array([(text_width(label), _LABEL_HEIGHT) for label in labels])
    corners = free_corners(pixels, sizes, np.array(axes.bbox.extents), others)
    for label, dot, corner in zip(labels, pixels, corners, strict=True):
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


def free_corners(
    dots: Float[np.ndarray, "num 2"],
    sizes: Float[np.ndarray, "num 2"],
    frame: Float[np.ndarray, " 4"],
    obstacles: Float[np.ndarray, "obstacles 2"] | None = None,
) -> Float[np.ndarray, "num 2"]:
    """Return lower left corners of labels that cover neither dots nor each other, near their dots.

    Each label, from the lowest dot upwards, gets the nearest position that is free; if none is, the
    one that covers least.

    Args:
      dots: positions.
      sizes: widths and heights of the labels.
      frame: left, bottom, right and top of the area for labels.
      obstacles: further points that no label may cover.
    """
    if obstacles is None:
        obstacles = np.empty((0, 2))
    points = np.concatenate([dots, obstacles])
    blocked = np.concatenate([points - _GAP / 2, points + _GAP / 2], axis=1)
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
