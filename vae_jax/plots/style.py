"""The style of all plots: colours, labels of metrics, and saving."""

import functools
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import numpy as np

if TYPE_CHECKING:
    # At run time only functions that draw import it, to spare other commands the time.
    import matplotlib.figure

DPI = 150

INK = "#333333"
QUIET = "#9a9a9a"
ACCENT = "#1f6fb4"

# Ten colours that stay apart under the common colour vision deficiencies: Petroff, "Accessible
# Color Sequences for Data Visualization" (2021), arXiv:2107.02270. His order is changed so that
# the digits that lie close to one another (4, 7, 9 and 3, 5, 8) get the less similar ones.
CLASS_COLOURS = (
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
    "figure.dpi": DPI,
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
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "lines.solid_capstyle": "round",
    # Type 3, Matplotlib's default, is refused by many journals.
    "pdf.fonttype": 42,
    # Identifiers in the file are random without it.
    "svg.hashsalt": "vae_jax",
}

METRIC_LABELS = {
    "elbo": "ELBO (nats)",
    "rate": "rate (nats)",
    "distortion": "distortion (nats)",
    "loss": "loss (nats)",
    "kl": "KL (nats)",
}

FORMATS = ("png", "pdf", "svg")
# Without Matplotlib's version and the time a file is a function of the figure alone.
_UNWRITTEN = {
    "png": ("Software",),
    "pdf": ("Creator", "Producer", "CreationDate"),
    "svg": ("Creator", "Date"),
}
_formats: ContextVar[tuple[str, ...]] = ContextVar("formats", default=())

_Arguments = ParamSpec("_Arguments")

# Matplotlib has one global table of settings. The lock protects it from other threads that draw.
_settings_lock = threading.RLock()


@contextmanager
def _style() -> Iterator[None]:
    from matplotlib import style

    # After a reset, so that no matplotlibrc changes the look of a plot.
    with _settings_lock, style.context(_STYLE, after_reset=True):
        yield


def styled(
    draw: "Callable[_Arguments, matplotlib.figure.Figure]",
) -> "Callable[_Arguments, matplotlib.figure.Figure]":
    """Return `draw` in the project's style, independent of Matplotlib's settings."""

    @functools.wraps(draw)
    def draw_in_style(
        *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> "matplotlib.figure.Figure":
        with _style():
            figure = draw(*args, **kwargs)
            # Ticks are created when they are first drawn, in the style of that moment.
            figure.draw_without_rendering()
        # Notebooks look for it; by themselves they show figures of pyplot only.
        setattr(figure, "_repr_png_", functools.partial(_in_notebook, figure))  # noqa: B010
        return figure

    return draw_in_style


@contextmanager
def formats(names: Sequence[str]) -> Iterator[None]:
    """Let `save` write each plot in these formats, some of `FORMATS`, whatever its path says."""
    token = _formats.set(tuple(names))
    try:
        yield
    finally:
        _formats.reset(token)


def save(figure: "matplotlib.figure.Figure", path: str | os.PathLike[str]) -> list[Path]:
    """Write `figure`, all or nothing, and create its folder; return the paths of its files.

    The format is that of the path's suffix, such as .png. Inside `formats` there is a file per
    format, and the suffixes differ.

    Raises:
      ValueError: the suffix is none of `FORMATS`.
    """
    path = Path(path)
    names = _formats.get() or (path.suffix.removeprefix("."),)
    contents = {path.with_suffix(f".{name}"): _rendered(figure, name) for name in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in contents.items():
        unfinished = target.with_name(
            f".{target.name}.{os.getpid()}.{threading.get_ident()}.partial"
        )
        try:
            unfinished.write_bytes(content)
            os.replace(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)
    return list(contents)


def _in_notebook(figure: "matplotlib.figure.Figure") -> tuple[bytes, dict[str, int]]:
    """Return the figure's PNG, and its width in the pixels of CSS, of which an inch has 96."""
    return _rendered(figure, "png"), {"width": round(96 * figure.get_figwidth())}


def _rendered(figure: "matplotlib.figure.Figure", name: str) -> bytes:
    if name not in FORMATS:
        raise ValueError(f"the plot's format {name!r} must be one of {', '.join(FORMATS)}")
    content = io.BytesIO()
    with _style():
        figure.savefig(content, format=name, metadata=dict.fromkeys(_UNWRITTEN[name]))
    return content.getvalue()


def text_width(text: str) -> float:
    """Return the width of a tick label in pixels of the file."""
    from matplotlib.textpath import TextPath

    return TextPath((0, 0), text, size=8).get_extents().width * DPI / 72 if text.strip() else 0.0


def require_finite(name: str, values: np.ndarray) -> None:
    """Raise a ValueError with the number of values that are NaN or infinite, if there are any."""
    if not np.isfinite(values).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(values))} values of {name} are not finite"
        )
