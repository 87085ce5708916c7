"""The style of all plots: colours, labels of metrics, and saving."""

import functools
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
}

METRIC_LABELS = {
    "elbo": "ELBO (nats)",
    "rate": "rate (nats)",
    "distortion": "distortion (nats)",
    "loss": "loss (nats)",
    "kl": "KL (nats)",
}

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
        return figure

    return draw_in_style


def save(figure: "matplotlib.figure.Figure", path: str | os.PathLike[str]) -> None:
    """Write `figure` as a PNG, all or nothing, and create its folder."""
    path = Path(path)
    png = io.BytesIO()
    with _style():
        # Without Matplotlib's version the file is a function of the figure alone.
        figure.savefig(png, format="png", metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        unfinished.write_bytes(png.getvalue())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


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
