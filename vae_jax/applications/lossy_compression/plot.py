"""The plot of rate and quality of lossy compression."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vae_jax.plots.style import CLASS_COLOURS, INK, QUIET, require_finite, styled

if TYPE_CHECKING:
    import matplotlib.figure

_GREYS = (INK, "#6f6f6f", QUIET)
_MARKERS = "osD^vP"
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)))

Curve = tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]


@styled
def quality_by_rate(
    curves: Mapping[str, Curve], baselines: Sequence[str] = ()
) -> "matplotlib.figure.Figure":
    """Plot PSNR in dB against bits per pixel, one line per method.

    Methods of a name that differ in their number of latents, which follows the name after a comma,
    have one colour and one marker; the one with the most latents is solid.

    Args:
      curves: rates and qualities, by the name of the method.
      baselines: methods drawn in grey, of at most three names.

    Raises:
      ValueError: there is no curve or there are too many, or a number is not finite.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    sizes = _by_size(curves)
    learned = [name for name in sizes if not set(sizes[name]) & {*baselines}]
    others = [name for name in sizes if name not in learned]
    if not curves or len(learned) > len(CLASS_COLOURS) or len(others) > len(_GREYS):
        raise ValueError(
            f"{len(learned)} methods and {len(others)} baselines; draw 1 to {len(CLASS_COLOURS)} "
            f"and at most {len(_GREYS)}"
        )
    colours = dict(zip(learned, CLASS_COLOURS, strict=False))
    colours |= dict(zip(others, _GREYS, strict=False))
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for name, marker in zip([*learned, *others], itertools.cycle(_MARKERS), strict=False):
        for index, whole in enumerate(sizes[name]):
            rates, quality = curves[whole]
            require_finite(whole, rates)
            require_finite(whole, quality)
            axes.plot(
                rates,
                quality,
                marker=marker,
                linestyle=_DASHES[min(index, len(_DASHES) - 1)],
                color=colours[name],
                # The markers of the dashed lines are hollow.
                markerfacecolor="white" if index else colours[name],
                label=whole,
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel("PSNR (dB)")
    figure.legend(loc="outside right center")
    return figure


def _by_size(names: Iterable[str]) -> dict[str, list[str]]:
    """Return methods by their names without the number of latents, the most latents first."""
    found: dict[str, list[tuple[int, str]]] = {}
    for whole in names:
        match = re.fullmatch(r"(.*), (\d+) latents", whole)
        name, size = (match[1], int(match[2])) if match else (whole, 0)
        found.setdefault(name, []).append((size, whole))
    return {name: [whole for _, whole in sorted(own)[::-1]] for name, own in found.items()}
