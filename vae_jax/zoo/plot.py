"""The plots of the zoo: images by family, and the plane of quality and reconstruction."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from vae_jax.plots.images import as_rgb, picture, tiled
from vae_jax.plots.labels import label_dots
from vae_jax.plots.style import ACCENT, QUIET, styled

if TYPE_CHECKING:
    # Imported in the functions that draw: it is slow, and most programs draw nothing.
    import matplotlib.figure

Images = UInt8[np.ndarray, "num height width channels"]


@styled
def reconstructions_and_samples(
    test: Images, strips: Mapping[str, tuple[Images, Images | None]]
) -> "matplotlib.figure.Figure":
    """Return a row per family: its reconstructions of the test images above, and its samples.

    Args:
      test: test images, in the first row.
      strips: reconstructions and samples by label; None without samples.
    """
    blank = np.full_like(test, 255)
    rows = [(test, blank), *strips.values()]
    between = blank[:1]
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
    label_dots(figure, axes, np.stack([x, y], axis=1), list(points))
    return figure
