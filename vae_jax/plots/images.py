"""Plots made of images: grids, reconstructions, recovery, interpolations, traversals.

Images are [..., height, width, channels] with 1 or 3 channels, uint8 or float. Floats are shown
clipped to [0, 1], because a Gaussian likelihood and additive noise both leave that range.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple, SupportsFloat

import numpy as np
from jaxtyping import Float, Int, Num

from vae_jax.plots.style import DPI, styled, text_width

if TYPE_CHECKING:
    # At run time only functions that draw import it, to spare other commands the time.
    import matplotlib.axes
    import matplotlib.figure

# Largest size of a plot in pixels, about a paper's column, and of one image in it.
_PICTURE_WIDTH = 5 * DPI
_PICTURE_HEIGHT = 7 * DPI
_IMAGE_WIDTH = 3 * DPI // 4
# Least distance of two rows in pixels, a little more than the height of a label.
_LEAST_ROW = 20


@styled
def image_grid(
    images: Num[np.ndarray, "n height width channels"], columns: int = 10
) -> "matplotlib.figure.Figure":
    """Return images in reading order, `columns` per row; samples from the prior, for instance."""
    if columns < 1:
        raise ValueError(f"columns={columns}: the grid needs at least one")
    return picture(tiled(_wrapped(as_rgb(images)[None], min(columns, len(images)))))


@styled
def reconstructions(
    originals: Num[np.ndarray, "n height width channels"],
    reconstructions: Num[np.ndarray, "n height width channels"],
    columns: int = 10,
) -> "matplotlib.figure.Figure":
    """Plot each original above its reconstruction, in blocks of at most `columns` pairs."""
    return _picture_of_strips(
        {"original": originals, "reconstruction": reconstructions}, columns=columns
    )


@styled
def nearest_neighbours(
    pairs: Mapping[
        str,
        tuple[
            Num[np.ndarray, "n height width channels"], Num[np.ndarray, "n height width channels"]
        ],
    ],
) -> "matplotlib.figure.Figure":
    """Return samples above the nearest training images, one block of two rows per sampler."""
    strips = [as_rgb(images) for pair in pairs.values() for images in pair]
    labels = [label for name in pairs for label in (name, "nearest in training")]
    return picture(tiled(np.stack(strips), rows_in_block=2), row_labels=labels)


@styled
def recovery(
    strips: Mapping[str, Num[np.ndarray, "n height width channels"]],
    title: str,
    columns: int = 10,
) -> "matplotlib.figure.Figure":
    """Plot strips of the same images by name: clean, corrupted, recovered."""
    return _picture_of_strips(strips, columns=columns, title=title)


@styled
def interpolations(
    images: Num[np.ndarray, "rows steps height width channels"],
    degrees: Float[np.ndarray, " steps"],
    path: str = "interpolation",
) -> "matplotlib.figure.Figure":
    """Return one path between two codes per row, and one degree of it per column.

    Args:
      images: per path and degree.
      degrees: 0 at the first code, 1 at the second.
      path: its name, as in "linear interpolation".
    """
    return picture(
        tiled(as_rgb(images)),
        column_labels=[_short(degree) for degree in degrees],
        column_caption=f"degree of {path}",
    )


@styled
def traversals(
    images: Num[np.ndarray, "rows steps height width channels"],
    dimensions: Int[np.ndarray, " rows"],
    values: Float[np.ndarray, " steps"],
    kl_by_dimension: Float[np.ndarray, " latents"],
) -> "matplotlib.figure.Figure":
    """Return one latent dimension per row, in the given order, and one of its values per column.

    Rows are labelled with the index of the dimension, from 0, and its part of the rate,
    `kl_by_dimension[dimension]`, in nats.
    """
    if not (np.min(dimensions) >= 0 and np.max(dimensions) < len(kl_by_dimension)):
        raise ValueError(
            f"dimensions={np.asarray(dimensions).tolist()} are not all among the "
            f"{len(kl_by_dimension)} latents of kl_by_dimension"
        )
    return picture(
        tiled(as_rgb(images)),
        row_labels=[f"z{i}  {kl_by_dimension[i]:.1f} nats" for i in dimensions],
        column_labels=[_short(value) for value in values],
        column_caption="value of the latent",
    )


@styled
def samples_by_row(
    images: Num[np.ndarray, "rows columns height width channels"],
    row_labels: Sequence[str],
    title: str,
) -> "matplotlib.figure.Figure":
    """Return samples that differ by row in one choice, such as the temperature."""
    return picture(tiled(as_rgb(images)), row_labels=row_labels, title=title)


@styled
def edited_images(
    images: Num[np.ndarray, "rows columns height width channels"],
    column_labels: Sequence[str],
    column_caption: str,
) -> "matplotlib.figure.Figure":
    """Return one image per row, and its edits under the labels of the columns."""
    return picture(
        tiled(as_rgb(images)), column_labels=column_labels, column_caption=column_caption
    )


@styled
def manifold(
    images: Num[np.ndarray, "size size height width channels"],
) -> "matplotlib.figure.Figure":
    """Plot the images that a decoder makes of `latent_paths.normal_quantile_grid(size)`.

    The layout is that of the grid: z1 grows to the right and z2 upwards. The ticks are values of z
    at their quantiles of the unit normal.
    """
    cells = as_rgb(images)
    tiling = tiled(cells, gap=0)
    height, width = tiling.mosaic.shape[:2]
    figure, axes = _axes_for(height, width, cells.shape[3], left=84, bottom=60, top=6, right=6)
    # Above the tick marks, whose ends would darken the outermost pixels.
    axes.imshow(tiling.mosaic, extent=(0, width, 0, height), aspect="auto", zorder=3)
    prior = NormalDist()
    marks = (-2, -1, -0.5, 0, 0.5, 1, 2)
    labels = [_short(mark) for mark in marks]
    axes.set_xticks([prior.cdf(mark) * width for mark in marks], labels)
    axes.set_yticks([prior.cdf(mark) * height for mark in marks], labels)
    axes.set_xlabel("$z_1$")
    axes.set_ylabel("$z_2$")
    axes.spines[:].set_visible(False)
    return figure


class Tiling(NamedTuple):
    """Images in one array, and their positions in it."""

    mosaic: np.ndarray
    """[rows of pixels, columns of pixels, 3], floats in [0, 1], white between the cells."""
    row_centres: np.ndarray
    column_centres: np.ndarray
    cell_width: int


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Return uint8 or float images with 1 or 3 channels as floats in [0, 1] with 3 channels."""
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images have {images.shape[-1]} channels (shape {images.shape}); "
            "1 (grey) and 3 (RGB) can be drawn"
        )
    if images.size == 0:
        raise ValueError(f"no pixels to draw in images of shape {images.shape}")
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    elif not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images are {images.dtype}; floats in [0, 1] or uint8 can be drawn")
    if not np.isfinite(images).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(images))} pixels are not finite")
    rgb = np.clip(images, 0, 1).astype(np.float32)
    return np.broadcast_to(rgb, (*rgb.shape[:-1], 3))


def _wrapped(strips: np.ndarray, columns: int) -> np.ndarray:
    """Return `[strips, n, ...]` as `[blocks * strips, columns, ...]`, padded with white."""
    num_strips, n = strips.shape[:2]
    num_blocks = -(-n // columns)
    blank = np.ones((num_strips, num_blocks * columns - n, *strips.shape[2:]), strips.dtype)
    full = np.concatenate([strips, blank], axis=1)
    blocks = full.reshape(num_strips, num_blocks, columns, *strips.shape[2:]).swapaxes(0, 1)
    return blocks.reshape(num_blocks * num_strips, columns, *strips.shape[2:])


def tiled(cells: np.ndarray, gap: int | None = None, rows_in_block: int = 1) -> Tiling:
    """Put cells [rows, columns, height, width, 3] in one array, `gap` pixels apart.

    The gap between blocks of several rows is wider than that between their rows.
    """
    rows, columns, height, width, _ = cells.shape
    beside = max(1, round(width / 14)) if gap is None else gap
    below = max(1, round(min(height, width) / 14)) if gap is None else gap
    between_blocks = 3 * below if rows_in_block > 1 else 0
    tops = np.arange(rows) * (height + below) + np.arange(rows) // rows_in_block * between_blocks
    lefts = np.arange(columns) * (width + beside)
    mosaic = np.ones((tops[-1] + height, lefts[-1] + width, 3), cells.dtype)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            mosaic[top : top + height, left : left + width] = cells[row, column]
    # The centre of pixel 0 is at 0 in the coordinates of imshow.
    return Tiling(mosaic, tops + (height - 1) / 2, lefts + (width - 1) / 2, width)


def _axes_for(
    height: int,
    width: int,
    cell_width: int,
    *,
    left: int,
    bottom: int,
    top: int,
    right: int,
    row_height: float = 0,
) -> "tuple[matplotlib.figure.Figure, matplotlib.axes.Axes]":
    """Return a figure with one axes of height x width pixels, inside margins in pixels.

    If there is room, each pixel of the images becomes a whole number of pixels of the file, so that
    the images are sharp and all rows and columns have the same width. `row_height` is the distance
    of two rows of images in their pixels; 0 if the shape of the images must stay.
    """
    from matplotlib.figure import Figure

    scale = min(_PICTURE_WIDTH / width, _PICTURE_HEIGHT / height, _IMAGE_WIDTH / cell_width)
    if scale >= 1:
        scale = int(scale)
    # Images of few rows, such as the rows of a table, are stretched: their labels need the height.
    stretch = max(1, math.ceil(_LEAST_ROW / (scale * row_height))) if row_height else 1
    shown_width = max(1, round(width * scale))
    shown_height = max(1, round(height * scale * stretch))
    full_width, full_height = left + shown_width + right, bottom + shown_height + top
    figure = Figure(figsize=(full_width / DPI, full_height / DPI))
    axes = figure.add_axes(
        (
            left / full_width,
            bottom / full_height,
            shown_width / full_width,
            shown_height / full_height,
        )
    )
    return figure, axes


def picture(
    tiling: Tiling,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    column_caption: str = "",
    title: str = "",
) -> "matplotlib.figure.Figure":
    """Plot a tiling: labels left of the rows and above the columns, a title on top."""
    margin = 6
    left = margin + (round(max(map(text_width, row_labels))) + 12 if row_labels else 0)
    top = margin + 24 * bool(column_labels) + 28 * bool(column_caption) + 34 * bool(title)
    height, width = tiling.mosaic.shape[:2]
    figure, axes = _axes_for(
        height,
        width,
        tiling.cell_width,
        left=left,
        bottom=margin,
        top=top,
        right=margin,
        row_height=np.diff(tiling.row_centres).min(initial=height),
    )
    axes.imshow(tiling.mosaic, aspect="auto")
    axes.tick_params(length=0, pad=3)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_yticks(tiling.row_centres if row_labels else [], row_labels or None)
    # If labels are wider than their columns, only every second, third, ... is drawn.
    column_pixels = axes.get_position().width * figure.bbox.width / len(tiling.column_centres)
    widest = max(map(text_width, column_labels), default=0)
    every = max(1, int(np.ceil((widest + 6) / column_pixels)))
    axes.set_xticks(
        tiling.column_centres[::every] if column_labels else [], column_labels[::every] or None
    )
    axes.set_xlabel(column_caption, labelpad=5, fontsize=8)
    axes.set_title(title, pad=7)
    axes.spines[:].set_visible(False)
    return figure


def _picture_of_strips(
    strips: Mapping[str, np.ndarray], columns: int, title: str = ""
) -> "matplotlib.figure.Figure":
    """Return labelled strips of images, one below the other, wrapped together after `columns`."""
    if columns < 1:
        raise ValueError(f"columns={columns}: the plot needs at least one")
    stacked = np.stack([as_rgb(images) for images in strips.values()])
    num_blocks = -(-stacked.shape[1] // columns)
    # Blocks of equal length: 13 pairs become 7 and 6 rather than 10 and 3.
    cells = _wrapped(stacked, -(-stacked.shape[1] // num_blocks))
    return picture(
        tiled(cells, rows_in_block=len(strips)), row_labels=list(strips) * num_blocks, title=title
    )


def _short(value: SupportsFloat) -> str:
    """Return a number with at most three decimals, and a minus sign as wide as a digit."""
    # Adding zero turns -0.0, a possible result of rounding, into 0.0.
    text = f"{round(float(value), 3) + 0.0:.3f}".rstrip("0").rstrip(".")
    return text.replace("-", "\N{MINUS SIGN}")
