"""How the values of a swept field lie on an axis or in a range of colours, and how they are told.

A value is anything a config may hold: a number, a string, a tuple, a bool, None. Finite numbers lie
on a linear or a logarithmic scale; all else, and any mixture, is a row of categories.
"""

import math
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsFloat

import numpy as np

from vae_jax.plots.style import CLASS_COLOURS, text_width

if TYPE_CHECKING:
    # Imported inside the functions that draw: a training run that draws nothing pays nothing.
    import matplotlib.axis
    import matplotlib.cm
    import matplotlib.colorbar
    import matplotlib.colors

Values = Sequence[Any] | np.ndarray
"""One value a member."""

# Pixels of the file: from one tick label to the next above it, and between two side by side.
LABEL_HEIGHT = 24
_LABEL_GAP = 10

# Past so many, round numbers are easier to read than the swept ones.
_MOST_TOLD = 9

_LONGEST_NAME = 24


class Scale(NamedTuple):
    """Where the values of the members lie: on a line of numbers, or at the ranks of categories.

    Attributes:
      positions: [members]; the number itself, or the rank of the category.
      categories: their names by rank; empty for numbers.
      is_log: positive numbers over more than a decade.
    """

    positions: np.ndarray
    categories: tuple[str, ...]
    is_log: bool

    @property
    def limits(self) -> tuple[float, float]:
        """Where the axis begins and ends: at the outermost numbers, half a category outside."""
        if self.categories:
            return -0.5, len(self.categories) - 0.5
        low, high = float(self.positions.min()), float(self.positions.max())
        # An axis needs a length even where all members lie in one place.
        margin = 0.0 if low < high else 0.05 * abs(low) or 0.5
        return low - margin, high + margin

    def fractions(self, positions: np.ndarray) -> np.ndarray:
        """The part of the way from the lower limit to the upper at which each position lies."""
        low, high = self.limits
        if self.is_log:
            low, high, positions = math.log(low), math.log(high), np.log(positions)
        return (positions - low) / (high - low)

    def ticks(self, length: float, *, upright: bool) -> tuple[np.ndarray, list[str]]:
        """Positions and labels of as many ticks as can stand without touching.

        They are the values themselves if those are few, and round numbers between them if not.

        Args:
          length: of the axis, from one limit to the other, in pixels of the file.
          upright: the labels stand above one another, as on a vertical axis.
        """
        for ticks, labels in self._candidate_ticks():
            places = self.fractions(ticks) * length
            if upright:
                needed: Any = LABEL_HEIGHT
            else:
                widths = np.array([text_width(label) for label in labels])
                needed = (widths[1:] + widths[:-1]) / 2 + _LABEL_GAP
            if (np.diff(places) >= needed).all():
                return ticks, labels
        return np.empty(0), []

    def lay_on(
        self,
        axis: "matplotlib.axis.XAxis | matplotlib.axis.YAxis",
        length: float,
        margin: float = 0.0,
    ) -> None:
        """Give `axis` this scale, with a part `margin` of its span free at each end, and ticks.

        Args:
          axis: to be laid out.
          length: its length in pixels of the file, or a guess of it.
          margin: as a part of the span from limit to limit.
        """
        from matplotlib.ticker import NullLocator

        upright = axis.axis_name == "y"
        axes = axis.axes
        (axes.set_yscale if upright else axes.set_xscale)("log" if self.is_log else "linear")
        low, high = self.limits
        if self.is_log:
            factor = (high / low) ** margin
            low, high = low / factor, high * factor
        else:
            low, high = low - margin * (high - low), high + margin * (high - low)
        (axes.set_ylim if upright else axes.set_xlim)(low, high)
        ticks, labels = self.ticks(length / (1 + 2 * margin), upright=upright)
        axis.set_ticks(ticks, labels)
        axis.set_minor_locator(NullLocator())
        if len(ticks) < len(self.categories) and not upright:
            # Slanted, a label needs no more room beside it than one that stands above another.
            ticks, labels = self.ticks(length / (1 + 2 * margin), upright=True)
            axis.set_ticks(ticks, labels, rotation=45, ha="right", rotation_mode="anchor")

    def colours(self) -> "matplotlib.cm.ScalarMappable":
        """The colour of each position: a shade for a number, a colour of its own for a category."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import ListedColormap, LogNorm, Normalize

        if not self.categories:
            return ScalarMappable((LogNorm if self.is_log else Normalize)(*self.limits), shades())
        count = len(self.categories)
        if count <= len(CLASS_COLOURS):
            colours = ListedColormap(CLASS_COLOURS[:count])
        else:
            colours = shades().resampled(count)
        return ScalarMappable(Normalize(*self.limits), colours)

    def mark(self, bar: "matplotlib.colorbar.Colorbar", length: float) -> None:
        """Give a bar of these colours, of so many pixels of the file, ticks of this scale."""
        ticks, labels = self.ticks(length, upright=True)
        bar.set_ticks(ticks.tolist(), labels=labels)
        bar.minorticks_off()
        bar.outline.set_visible(False)

    def _candidate_ticks(self) -> Iterator[tuple[np.ndarray, list[str]]]:
        """Ticks and their labels, ever fewer of them."""
        from matplotlib.ticker import MaxNLocator

        if self.categories:
            ranks = np.arange(len(self.categories), dtype=float)
            for every in range(1, len(ranks) + 1):
                yield ranks[::every], list(self.categories[::every])
            return
        low, high = self.limits
        own = np.unique(self.positions)
        candidates: list[np.ndarray] = [own] if len(own) <= _MOST_TOLD else []
        if self.is_log:
            decades = np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1.0)
            candidates += [
                (10 ** decades[:, None] * np.array(within)).ravel()
                for within in ([1, 2, 5], [1, 3], [1])
            ]
            # Counted from the decade of 1, so that it is among them.
            candidates += [10 ** decades[decades % n == 0] for n in range(2, len(decades))]
        else:
            whole = bool((own == np.round(own)).all())
            candidates += [
                np.array(MaxNLocator(n, integer=whole).tick_values(low, high))
                for n in range(7, 0, -1)
            ]
        for ticks in candidates:
            # The slack is for a limit whose last digit got lost on the way.
            inside = ticks[np.abs(self.fractions(ticks) - 0.5) < 0.5 + 1e-9]
            if len(inside):
                yield inside, numbers(inside)


def scale_of(values: Values) -> Scale:
    """The scale that the values of the members ask for.

    Categories stand in the order of their numbers and bools, then in that in which the others come.
    """
    plain = [_plain(value) for value in values]
    if all(_is_number(value) for value in plain):
        positions = np.array(plain, dtype=float)
        low, high = positions.min(), positions.max()
        return Scale(positions, (), bool(low > 0 and high > 10 * low * (1 + 1e-9)))
    # An infinite number, as a clipping norm that never clips, is a category after the finite ones.
    amounts = sorted({value for value in plain if _is_number(value, may_be_infinite=True)})
    told = dict(zip(amounts, numbers(amounts), strict=True))

    def name(value: Any) -> str:
        return told[value] if _is_number(value, may_be_infinite=True) else _name(value)

    def order(value: Any) -> tuple[bool, float]:
        has_order = isinstance(value, bool) or _is_number(value, may_be_infinite=True)
        return not has_order, float(value) if has_order else 0.0

    ranks = {
        text: rank for rank, text in enumerate(dict.fromkeys(map(name, sorted(plain, key=order))))
    }
    positions = np.array([ranks[name(value)] for value in plain], dtype=float)
    return Scale(positions, tuple(ranks), False)


def ranked(values: Values) -> Scale:
    """The scale on which every distinct value is a category, numbers in their order too."""
    scale = scale_of(values)
    if scale.categories:
        return scale
    amounts, ranks = np.unique(scale.positions, return_inverse=True)
    return Scale(ranks.astype(float), tuple(numbers(amounts)), False)


def numbers(values: Sequence[SupportsFloat] | np.ndarray) -> list[str]:
    """Numbers as they are printed beside one another: no more digits than tell them apart.

    All are powers of ten, or multiples of such, where one of them would be too long otherwise.
    """
    amounts = [float(value) for value in values]
    sizes = [abs(amount) for amount in amounts if amount and math.isfinite(amount)]
    as_powers = bool(sizes) and not 1e-3 <= min(sizes) <= max(sizes) < 1e6
    for digits in range(3, 18):
        texts = [_number(amount, digits, as_powers) for amount in amounts]
        if len(set(texts)) == len(set(amounts)):
            break
    return texts


def shades() -> "matplotlib.colors.ListedColormap":
    """Viridis without its last twelfth, which is too pale a yellow for a line on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](np.linspace(0, 0.92, 256)))


def _plain(value: Any) -> Any:
    """A scalar of NumPy or JAX as the Python value that it holds."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _is_number(value: Any, *, may_be_infinite: bool = False) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return math.isfinite(value) or (may_be_infinite and not math.isnan(value))


def _name(value: Any) -> str:
    text = " ".join(str(value).split())
    if len(text) > _LONGEST_NAME:
        text = text[: _LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
    # A dollar sign would begin a formula.
    return text.replace("$", r"\$")


def _number(value: float, digits: int, as_power: bool) -> str:
    """`value` to so many significant digits, and all of those before the decimal point."""
    if not math.isfinite(value) or value == 0:
        return {math.inf: "\N{INFINITY}", -math.inf: "\N{MINUS SIGN}\N{INFINITY}"}.get(value, "0")
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    if not as_power:
        text = f"{value:.0f}" if int(power) >= digits else f"{value:.{digits}g}"
        return text.replace("-", "\N{MINUS SIGN}")
    mantissa = mantissa.rstrip("0").rstrip(".")
    times = {"1": "", "-1": "-"}.get(mantissa, rf"{mantissa}\times")
    return rf"${times}10^{{{int(power)}}}$"
