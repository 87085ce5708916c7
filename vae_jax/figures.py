"""Every picture the project draws, from NumPy arrays and metric records alone.

No function here knows a model or a config, so a figure can be drawn again from what a run left
on disk. Each returns a `matplotlib.figure.Figure` that pyplot has never heard of: nothing has to
be closed, no display is needed, and `save` writes it.

Images are [..., height, width, channels] with 1 or 3 channels, uint8 or float. Floats are shown
clipped to [0, 1], because a Gaussian likelihood and additive noise both leave that range.
"""

import functools
import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, SupportsFloat

import numpy as np
from jaxtyping import Float, Int, Num

if TYPE_CHECKING:
    # Imported inside the functions that draw: a training run that draws nothing pays nothing.
    import matplotlib.axes
    import matplotlib.figure

_DPI = 150

# Largest extent of a picture made of images, and of one image in it: about a paper's column.
_PICTURE_WIDTH = 5 * _DPI
_PICTURE_HEIGHT = 7 * _DPI
_IMAGE_WIDTH = 3 * _DPI // 4

_INK = "#333333"
_QUIET = "#9a9a9a"
_ACCENT = "#1f6fb4"

# Ten colours that stay apart under the common colour vision deficiencies: Petroff, "Accessible
# Color Sequences for Data Visualization" (2021), arXiv:2107.02270. His order is changed so that
# the digits that lie close to one another (4, 7, 9 and 3, 5, 8) get the less similar ones.
_CLASS_COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#832db6",
    "#e76300",
    "#a96b59",
    "#94a4a2",
    "#b9ac70",
    "#717581",
    "#92dadd",
)

_STYLE = {
    "figure.dpi": _DPI,
    "savefig.dpi": "figure",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.borderaxespad": 0.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "lines.solid_capstyle": "round",
}

_METRIC_LABELS = {
    "elbo": "ELBO (nats)",
    "rate": "rate (nats)",
    "distortion": "distortion (nats)",
    "loss": "loss (nats)",
    "kl": "KL (nats)",
}

_Arguments = ParamSpec("_Arguments")

# Matplotlib keeps its settings in one global table. The lock keeps two threads that draw at once
# out of each other's style.
_settings_lock = threading.RLock()


@contextmanager
def _style() -> Iterator[None]:
    from matplotlib import style

    # After a reset, so that no matplotlibrc changes what a figure of this project looks like.
    with _settings_lock, style.context(_STYLE, after_reset=True):
        yield


def _styled(
    draw: "Callable[_Arguments, matplotlib.figure.Figure]",
) -> "Callable[_Arguments, matplotlib.figure.Figure]":
    @functools.wraps(draw)
    def draw_in_style(
        *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> "matplotlib.figure.Figure":
        with _style():
            figure = draw(*args, **kwargs)
            # Ticks come into being when first drawn, and take the style of that moment.
            figure.draw_without_rendering()
        return figure

    return draw_in_style


def save(figure: "matplotlib.figure.Figure", path: str | os.PathLike[str]) -> None:
    """Write `figure` as a PNG; create the folder; never leave half a file under `path`."""
    path = Path(path)
    png = io.BytesIO()
    with _style():
        # Without the version of Matplotlib in it, the file is a function of the figure.
        figure.savefig(png, format="png", metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        unfinished.write_bytes(png.getvalue())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@_styled
def image_grid(
    images: Num[np.ndarray, "n height width channels"], columns: int = 10
) -> "matplotlib.figure.Figure":
    """Images in reading order, `columns` to a row; samples from the prior, for instance."""
    if columns < 1:
        raise ValueError(f"columns={columns}: the grid needs at least one")
    return _picture(_tiled(_wrapped(_as_rgb(images)[None], min(columns, len(images)))))


@_styled
def reconstructions(
    originals: Num[np.ndarray, "n height width channels"],
    reconstructions: Num[np.ndarray, "n height width channels"],
    columns: int = 10,
) -> "matplotlib.figure.Figure":
    """Each original above its reconstruction; more than `columns` pairs go on below."""
    return _picture_of_strips(
        {"original": originals, "reconstruction": reconstructions}, columns=columns
    )


@_styled
def denoising(
    clean: Num[np.ndarray, "n height width channels"],
    noisy: Num[np.ndarray, "n height width channels"],
    denoised: Num[np.ndarray, "n height width channels"],
    level: SupportsFloat,
    columns: int = 10,
) -> "matplotlib.figure.Figure":
    """What was clean, what the model saw at noise `level`, and what it made of that."""
    return _picture_of_strips(
        {"clean": clean, "noisy": noisy, "denoised": denoised},
        columns=columns,
        title=f"noise level {float(level):.3g}",
    )


@_styled
def interpolations(
    images: Num[np.ndarray, "rows steps height width channels"],
    degrees: Float[np.ndarray, " steps"],
    title: str = "",
) -> "matplotlib.figure.Figure":
    """One path between two codes a row, the degree of interpolation above each column."""
    return _picture(
        _tiled(_as_rgb(images)),
        column_labels=[_short(degree) for degree in degrees],
        column_caption="degree of interpolation",
        title=title,
    )


@_styled
def traversals(
    images: Num[np.ndarray, "rows steps height width channels"],
    dimensions: Int[np.ndarray, " rows"],
    values: Float[np.ndarray, " steps"],
    kl_by_dimension: Float[np.ndarray, " latents"],
) -> "matplotlib.figure.Figure":
    """One latent dimension a row, in the order given, the value it takes above each column.

    Rows are labelled with the index of the dimension, counted from 0 as in the arrays, and its
    share of the rate: `kl_by_dimension[dimension]`, in nats.
    """
    if not (np.min(dimensions) >= 0 and np.max(dimensions) < len(kl_by_dimension)):
        raise ValueError(
            f"dimensions={np.asarray(dimensions).tolist()} are not all among the "
            f"{len(kl_by_dimension)} latents of kl_by_dimension"
        )
    return _picture(
        _tiled(_as_rgb(images)),
        row_labels=[f"z{i}  {kl_by_dimension[i]:.1f} nats" for i in dimensions],
        column_labels=[_short(value) for value in values],
        column_caption="value of the latent",
    )


@_styled
def manifold(
    images: Num[np.ndarray, "size size height width channels"],
) -> "matplotlib.figure.Figure":
    """What a decoder with two latents makes of `latent_paths.normal_quantile_grid(size)`.

    Laid out as that grid: z1 grows to the right and z2 upwards. The axes are marked in units of
    z, which lie apart as the quantiles of the unit normal do.
    """
    cells = _as_rgb(images)
    tiling = _tiled(cells, gap=0)
    height, width = tiling.mosaic.shape[:2]
    figure, axes = _axes_for(height, width, cells.shape[3], left=84, bottom=60, top=6, right=6)
    # Above the tick marks, whose ends would else darken the outermost pixels.
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


class _Tiling(NamedTuple):
    mosaic: np.ndarray
    """[rows of pixels, columns of pixels, 3], floats in [0, 1], white between the cells."""
    row_centres: np.ndarray
    column_centres: np.ndarray
    cell_width: int


def _as_rgb(images: np.ndarray) -> np.ndarray:
    """[..., height, width, 1 or 3] of uint8 or float -> [..., height, width, 3] in [0, 1]."""
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
    """[strips, n, ...] -> [blocks * strips, columns, ...], the last block filled up with white."""
    num_strips, n = strips.shape[:2]
    num_blocks = -(-n // columns)
    blank = np.ones((num_strips, num_blocks * columns - n, *strips.shape[2:]), strips.dtype)
    full = np.concatenate([strips, blank], axis=1)
    blocks = full.reshape(num_strips, num_blocks, columns, *strips.shape[2:]).swapaxes(0, 1)
    return blocks.reshape(num_blocks * num_strips, columns, *strips.shape[2:])


def _tiled(cells: np.ndarray, gap: int | None = None, rows_in_block: int = 1) -> _Tiling:
    """Lay [rows, columns, height, width, 3] out in one array, `gap` pixels apart.

    Blocks of more than one row stand further apart than the rows inside them.
    """
    rows, columns, height, width, _ = cells.shape
    if gap is None:
        gap = max(1, round(width / 14))
    between_blocks = 3 * gap if rows_in_block > 1 else 0
    tops = np.arange(rows) * (height + gap) + np.arange(rows) // rows_in_block * between_blocks
    lefts = np.arange(columns) * (width + gap)
    mosaic = np.ones((tops[-1] + height, lefts[-1] + width, 3), cells.dtype)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            mosaic[top : top + height, left : left + width] = cells[row, column]
    # The centre of pixel 0 is at 0 in the coordinates of imshow.
    return _Tiling(mosaic, tops + (height - 1) / 2, lefts + (width - 1) / 2, width)


def _axes_for(
    height: int, width: int, cell_width: int, *, left: int, bottom: int, top: int, right: int
) -> "tuple[matplotlib.figure.Figure, matplotlib.axes.Axes]":
    """A figure whose one axes shows height x width pixels, inside margins in pixels of the file.

    Each pixel of the images becomes a whole number of pixels of the file where there is room, so
    that nothing is blurred and no row or column comes out wider than another.
    """
    from matplotlib.figure import Figure

    scale = min(_PICTURE_WIDTH / width, _PICTURE_HEIGHT / height, _IMAGE_WIDTH / cell_width)
    if scale >= 1:
        scale = int(scale)
    shown_width, shown_height = max(1, round(width * scale)), max(1, round(height * scale))
    full_width, full_height = left + shown_width + right, bottom + shown_height + top
    figure = Figure(figsize=(full_width / _DPI, full_height / _DPI))
    axes = figure.add_axes(
        (
            left / full_width,
            bottom / full_height,
            shown_width / full_width,
            shown_height / full_height,
        )
    )
    return figure, axes


def _picture(
    tiling: _Tiling,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    column_caption: str = "",
    title: str = "",
) -> "matplotlib.figure.Figure":
    margin = 6
    left = margin + (round(max(map(_text_width, row_labels))) + 12 if row_labels else 0)
    top = margin + 24 * bool(column_labels) + 26 * bool(column_caption) + 34 * bool(title)
    height, width = tiling.mosaic.shape[:2]
    figure, axes = _axes_for(
        height, width, tiling.cell_width, left=left, bottom=margin, top=top, right=margin
    )
    axes.imshow(tiling.mosaic, aspect="auto")
    axes.tick_params(length=0, pad=3)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_yticks(tiling.row_centres if row_labels else [], row_labels or None)
    # A label wider than its column runs into the next: then every second, third, ... is left out.
    column_pixels = axes.get_position().width * figure.bbox.width / len(tiling.column_centres)
    widest = max(map(_text_width, column_labels), default=0)
    every = max(1, int(np.ceil((widest + 6) / column_pixels)))
    axes.set_xticks(
        tiling.column_centres[::every] if column_labels else [], column_labels[::every] or None
    )
    axes.set_xlabel(column_caption, labelpad=3, fontsize=8)
    axes.set_title(title, pad=7)
    axes.spines[:].set_visible(False)
    return figure


def _picture_of_strips(
    strips: Mapping[str, np.ndarray], columns: int, title: str = ""
) -> "matplotlib.figure.Figure":
    """One labelled strip of images under the other, wrapped together after `columns`."""
    if columns < 1:
        raise ValueError(f"columns={columns}: the picture needs at least one")
    stacked = np.stack([_as_rgb(images) for images in strips.values()])
    num_blocks = -(-stacked.shape[1] // columns)
    # Blocks of equal length: 13 pairs become 7 and 6 rather than 10 and 3.
    cells = _wrapped(stacked, -(-stacked.shape[1] // num_blocks))
    return _picture(
        _tiled(cells, rows_in_block=len(strips)), row_labels=list(strips) * num_blocks, title=title
    )


def _short(value: SupportsFloat) -> str:
    """At most two decimals, and a minus sign that is as wide as a digit."""
    # Adding zero turns the -0.0 that rounding may leave into 0.0.
    text = f"{round(float(value), 2) + 0.0:.2f}".rstrip("0").rstrip(".")
    return text.replace("-", "\N{MINUS SIGN}")


def _text_width(text: str) -> float:
    """Width of a tick label in pixels of the file."""
    from matplotlib.textpath import TextPath

    return TextPath((0, 0), text, size=8).get_extents().width * _DPI / 72 if text.strip() else 0.0


@_styled
def latent_map(
    points: Float[np.ndarray, "n 2"],
    labels: Num[np.ndarray, " n"] | None = None,
    axis_labels: tuple[str, str] = ("$z_1$", "$z_2$"),
    title: str = "",
) -> "matplotlib.figure.Figure":
    """Codes in the plane: two latents, or two principal components of many.

    Up to ten whole-numbered labels are classes and get a colour and a legend; others are read as
    amounts and get a colour bar. One unit is as long on one axis as on the other.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.5 if labels is None else 4.0, 3.5), layout="constrained")
    axes = figure.add_subplot()
    _scatter_maps(figure, [(axes, points, labels)])
    axes.set_xlabel(axis_labels[0])
    axes.set_ylabel(axis_labels[1])
    axes.set_title(title)
    return figure


@_styled
def latent_maps_side_by_side(
    panels: Sequence[tuple[str, Float[np.ndarray, "_ 2"], Num[np.ndarray, " _"] | None]],
) -> "matplotlib.figure.Figure":
    """Several maps, each (title, points, labels), in one row: what each objective does to q(z).

    Every panel has its own range, with one unit as long on one axis as on the other. The dashed
    circle has radius 2, two standard deviations of a unit normal prior: it shows the scale.
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
        # The range takes the circle in: codes that have collapsed are seen to be a dot inside it.
        for colour, width, dashes in (("white", 1.8, "-"), (_INK, 0.7, (0, (4, 3)))):
            axes.add_patch(
                Circle((0, 0), 2, fill=False, edgecolor=colour, linewidth=width, linestyle=dashes)
            )
        axes.set_title(title)
    return figure


def principal_components(
    points: Float[np.ndarray, "n latents"],
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " 2"]]:
    """The two directions of largest variance, and the share of all variance each explains.

    The sign of a component is arbitrary in a singular value decomposition; here its largest
    loading is positive, so that the same codes always give the same picture.
    """
    n, num_latents = points.shape
    if n < 2 or num_latents < 2:
        raise ValueError(f"points of shape {points.shape} have no two principal components")
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    _, scales, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    largest = np.take_along_axis(
        directions, np.abs(directions).argmax(axis=1, keepdims=True), axis=1
    )
    directions = directions * np.where(largest < 0, -1, 1)
    total = np.sum(scales**2)
    explained_share = scales[:2] ** 2 / total if total > 0 else np.zeros(2)
    return centred @ directions.T, explained_share


@_styled
def kl_by_dimension(
    kl: Float[np.ndarray, " latents"], active_threshold: SupportsFloat | None = None
) -> "matplotlib.figure.Figure":
    """KL(q(z_i|x) || p(z_i)) of each latent dimension i in nats, the largest first.

    With `active_threshold` (nats) the dimensions below it are drawn grey and counted out.
    """
    from matplotlib.figure import Figure

    _require_finite("kl", kl)
    order = np.argsort(-kl, kind="stable")
    active = (
        np.ones(len(kl), bool) if active_threshold is None else kl[order] > float(active_threshold)
    )
    figure = Figure(figsize=(4.6, 2.5), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(
        np.arange(len(kl)), kl[order], width=0.8, color=np.where(active, _ACCENT, _QUIET).tolist()
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
    """Scatter the points of each (axes, points, labels), with one key to the colours of all."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, to_rgba_array
    from matplotlib.lines import Line2D

    all_labels = [labels for _, _, labels in maps if labels is not None and len(labels)]
    classes = np.unique(np.concatenate(all_labels)) if all_labels else np.empty(0)
    are_classes = len(classes) <= len(_CLASS_COLOURS) and bool((classes == classes // 1).all())
    # A digit keeps its colour where some of the ten are missing.
    if len(classes) and classes[0] >= 0 and classes[-1] < len(_CLASS_COLOURS) and are_classes:
        class_colours = to_rgba_array(_CLASS_COLOURS)[classes.astype(int)]
    else:
        class_colours = to_rgba_array(_CLASS_COLOURS)
    amounts = ScalarMappable(
        Normalize(*(classes[[0, -1]] if len(classes) else (0, 1))), cmap="viridis"
    )

    for axes, points, labels in maps:
        _require_finite("points", points)
        if labels is None:
            colours: np.ndarray = np.tile(to_rgba_array(_ACCENT), (len(points), 1))
        elif are_classes:
            colours = class_colours[np.searchsorted(classes, labels)]
        else:
            colours = amounts.to_rgba(labels)
        # Drawn in an order of its own: in that of the data the last class may cover the others.
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
        figure.colorbar(amounts, ax=[axes for axes, _, _ in maps], fraction=0.05, pad=0.02)


@_styled
def training_curves(records: Sequence[Mapping[str, Any]]) -> "matplotlib.figure.Figure":
    """ELBO, rate and distortion in nats against the epoch, on training and validation data.

    `records` are the lines of metrics.jsonl: "epoch", "split" ("train" or "valid") and metrics. A
    metric that no record holds has no panel: an autoencoder shows its distortion alone. The range
    is that of the last nine tenths of the epochs where there are more than ten of them, so that
    the first steps may leave the picture.
    """
    from matplotlib.figure import Figure

    series = {
        metric: {split: _series(records, split, metric) for split in ("train", "valid")}
        for metric in ("elbo", "rate", "distortion")
    }
    drawn = {
        metric: splits
        for metric, splits in series.items()
        if any(len(epochs) for epochs, _ in splits.values())
    }
    if not drawn:
        raise ValueError("no record of the splits train and valid holds elbo, rate or distortion")
    figure = Figure(figsize=(2.3 * len(drawn) + (1.2 if len(drawn) == 1 else 0), 2.2))
    figure.set_layout_engine("constrained")
    for axes, (metric, splits) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True
    ):
        for split, colour in (("train", _QUIET), ("valid", _ACCENT)):
            _draw_series(axes, *splits[split], color=colour, label=split)
        axes.set_ylim(*_settled_range(list(splits.values())))
        axes.set_xlabel("epoch")
        axes.set_ylabel(_METRIC_LABELS[metric])
    figure.axes[0].legend()
    return figure


@_styled
def compared_curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], metric: str
) -> "matplotlib.figure.Figure":
    """One metric on validation data against the epoch, a line a run.

    `runs` gives the records of each run under the name it has in the legend. The range is chosen
    as for `training_curves`.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    series = {name: _series(records, "valid", metric) for name, records in runs.items()}
    empty = [name for name, (epochs, _) in series.items() if len(epochs) == 0]
    if empty or not series:
        raise ValueError(f"no validation record holds {metric!r} in the runs {empty}")
    figure = Figure(figsize=(5.0, 2.8), layout="constrained")
    axes = figure.add_subplot()
    # A sweep is an ordered family: past ten runs its order is told by lightness.
    colours: Any = (
        _CLASS_COLOURS
        if len(series) <= len(_CLASS_COLOURS)
        else colormaps["viridis"](np.linspace(0, 0.92, len(series)))
    )
    for colour, (name, (epochs, values)) in zip(colours, series.items(), strict=False):
        _draw_series(axes, epochs, values, color=colour, label=name)
    axes.set_ylim(*_settled_range(list(series.values())))
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation " + _METRIC_LABELS.get(metric, metric.replace("_", " ")))
    figure.legend(loc="outside right center", ncols=-(-len(series) // 14))
    return figure


@_styled
def denoising_curve(
    levels: Float[np.ndarray, " levels"],
    noisy_error: Float[np.ndarray, " levels"],
    denoised_error: Float[np.ndarray, " levels"],
    trained_level: SupportsFloat,
) -> "matplotlib.figure.Figure":
    """Mean squared error to the clean image, before and after denoising, against the noise level.

    The dashed line stands at the level the model was trained with.
    """
    from matplotlib.figure import Figure

    _require_finite("noisy_error", noisy_error)
    _require_finite("denoised_error", denoised_error)
    order = np.argsort(levels)
    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(
        float(trained_level), color=_INK, linewidth=0.7, linestyle=(0, (4, 3)), label="_trained"
    )
    axes.annotate(
        f"trained at {float(trained_level):g}",
        (float(trained_level), 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        verticalalignment="top",
        fontsize=8,
    )
    axes.plot(levels[order], noisy_error[order], "o-", color=_QUIET, label="noisy")
    axes.plot(levels[order], denoised_error[order], "o-", color=_ACCENT, label="denoised")
    axes.set_ylim(0, None)
    axes.set_xlabel("noise level")
    axes.set_ylabel("mean squared error")
    axes.legend()
    return figure


def _series(
    records: Sequence[Mapping[str, Any]], split: str, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Epochs in order and the finite values of `metric` there: two float arrays of one length."""
    # By epoch, the later record winning: a resumed run may have told an epoch twice.
    values = {
        float(record["epoch"]): float(record[metric])
        for record in records
        if record.get("split") == split and record.get(metric) is not None
    }
    told = sorted((epoch, value) for epoch, value in values.items() if np.isfinite(value))
    epochs_and_values = np.array(told, dtype=float).reshape(-1, 2)
    return epochs_and_values[:, 0], epochs_and_values[:, 1]


def _draw_series(
    axes: "matplotlib.axes.Axes", epochs: np.ndarray, values: np.ndarray, **line: Any
) -> None:
    from matplotlib.ticker import MaxNLocator

    if len(epochs):
        # A line through one point is invisible, and through a few it hides how few they are.
        axes.plot(epochs, values, marker="o" if len(epochs) <= 10 else "", **line)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))


def _settled_range(series: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Limits that hold every value but those of the first tenth of the epochs, if over ten."""
    epochs = np.concatenate([epochs for epochs, _ in series])
    values = np.concatenate([values for _, values in series])
    is_long = len(np.unique(epochs)) > 10
    settled = values[epochs >= epochs.min() + 0.1 * is_long * (epochs.max() - epochs.min())]
    low, high = settled.min(), settled.max()
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return float(low - margin), float(high + margin)


def _require_finite(name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(values))} values of {name} are not finite"
        )
