"""The plot of rate and quality of lossy compression."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vae_jax.plots.style import CLASS_COLOURS, INK, QUIET, require_finite, styled

if TYPE_CHECKING:
    import matplotlib.figure

Curve = tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]


@styled
def quality_by_rate(
    curves: Mapping[str, Curve], baselines: Sequence[str] = ()
) -> "matplotlib.figure.Figure":
    """Plot PSNR in dB against bits per pixel, one line per method.

    Args:
      curves: rates and qualities, by the name of the method.
      baselines: at most four methods, drawn in grey with different dashes.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    learned = [name for name in curves if name not in baselines]
    if not curves or len(learned) > len(CLASS_COLOURS):
        raise ValueError(f"{len(learned)} methods; draw 1 to {len(CLASS_COLOURS)}")
    colours = dict(zip(learned, CLASS_COLOURS, strict=False))
    greys = zip((INK, INK, QUIET, QUIET), ("--", ":", "--", ":"), strict=True)
    dashes = dict(zip(baselines, greys, strict=False))
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for name, (rates, quality) in curves.items():
        require_finite(name, rates)
        require_finite(name, quality)
        colour, line = dashes[name] if name in dashes else (colours[name], "-")
        axes.plot(rates, quality, marker="o", linestyle=line, color=colour, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel("PSNR (dB)")
    figure.legend(loc="outside right center")
    return figure
