"""Scales of swept fields: positions on an axis or in a range of colours, and tick labels.

A value is anything a config may hold: a number, a string, a tuple, a bool, None. Finite numbers
have a linear or a logarithmic scale, or with zero a linear one that becomes logarithmic; other
values, and mixtures, are categories.
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsFloat

import numpy as np

from vae_jax.plots.style import CLASS_COLOURS, DPI, text_width

if TYPE_CHECKING:
    # At run time only functions that draw import it, to spare other commands the time.
    import matplotlib.axis
    import matplotlib.cm
    import matplotlib.colorbar
    import matplotlib.colors
    import matplotlib.ticker

Values = Sequence[Any] | np.ndarray
"""One value per member."""

# Smallest distance of swept values as ticks, as a part of the axis.
_LEAST_GAP = 0.125
_MOST_CATEGORIES = 24
_LONGEST_NAME = 24
_MOST_DECADES = 6
# Matplotlib's length of the linear part of a scale; with base 10 this is a decade.
_LINEAR_SCALE = 0.9
# Inches between two tick labels, and beside the axes of a figure.
_GAP = 0.07
_BESIDE = 1.4


class Scale(NamedTuple):
    """The positions of the members' values, numbers or ranks of categories, on a scale.

    Attributes:
      positions: the numbers, or the ranks of the categories, `[members]`.
      categories: names by rank; empty for numbers.
      is_log: whether the scale is logarithmic, for positive numbers over more than a decade.
      linear_to: for zero and positive numbers, the end of the linear part of a scale that is
        logarithmic above it; 0 for other scales.
    """

    positions: np.ndarray
    categories: tuple[str, ...]
    is_log: bool
    linear_to: float = 0.0

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the axis: the outermost numbers, or half a category outside."""
        if self.categories:
            return -0.5, len(self.categories) - 0.5
        low, high = float(self.positions.min()), float(self.positions.max())
        # An axis needs a length even if all members have one value.
        margin = 0.0 if low < high else 0.05 * abs(low) or 0.5
        return low - margin, high + margin

    def fractions(self, positions: np.ndarray) -> np.ndarray:
        """Return the positions as fractions of the way from the lower limit to the upper."""
        low, high = self._decades(np.array(self.limits))
        return (self._decades(positions) - low) / (high - low)

    def _decades(self, positions: np.ndarray) -> np.ndarray:
        """Return logarithms of base 10 where the scale is logarithmic, else the positions."""
        if self.linear_to:
            # The linear part is as long as a decade.
            above = 1 + np.log10(np.maximum(positions / self.linear_to, 1))
            return np.where(positions < self.linear_to, positions / self.linear_to, above)
        return np.log10(positions) if self.is_log else positions

    def lay_on(
        self, axis: "matplotlib.axis.XAxis | matplotlib.axis.YAxis", margin: float = 0.0
    ) -> None:
        """Give `axis` this scale and its ticks, with `margin`, a part of its span, at each end."""
        from matplotlib.ticker import NullLocator

        is_upright = axis.axis_name == "y"
        axes = axis.axes
        set_scale = axes.set_yscale if is_upright else axes.set_xscale
        low, high = self.limits
        if self.linear_to:
            set_scale("symlog", linthresh=self.linear_to, linscale=_LINEAR_SCALE)
            length = margin * float(self._decades(np.array(high)))
            low, high = -length * self.linear_to, high * 10**length
        elif self.is_log:
            set_scale("log")
            factor = (high / low) ** margin
            low, high = low / factor, high * factor
        else:
            set_scale("linear")
            low, high = low - margin * (high - low), high + margin * (high - low)
        (axes.set_ylim if is_upright else axes.set_xlim)(low, high)
        locator, formatter = self._ticks()
        axis.set_major_locator(locator)
        axis.set_major_formatter(formatter)
        axis.set_minor_locator(NullLocator())
        room = (axes.figure.bbox.width / DPI - _BESIDE) / max(1, len(self.categories))
        widest = max(map(text_width, self.categories), default=0.0) / DPI
        if not is_upright and widest + _GAP > room:
            # A slanted label needs only as much room as its height.
            axes.tick_params("x", rotation=45)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")

    def colours(self) -> "matplotlib.cm.ScalarMappable":
        """Return the colours of positions: shades for numbers, distinct ones for categories."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import ListedColormap, LogNorm, Normalize, SymLogNorm

        if self.linear_to:
            low, high = self.limits
            norm = SymLogNorm(self.linear_to, _LINEAR_SCALE, vmin=low, vmax=high)
            return ScalarMappable(norm, shades())
        if not self.categories:
            return ScalarMappable((LogNorm if self.is_log else Normalize)(*self.limits), shades())
        count = len(self.categories)
        if count <= len(CLASS_COLOURS):
            colours = ListedColormap(CLASS_COLOURS[:count])
        else:
            colours = shades().resampled(count)
        return ScalarMappable(Normalize(*self.limits), colours)

    def mark(self, bar: "matplotlib.colorbar.Colorbar") -> None:
        """Give a colour bar of this scale its ticks."""
        bar.locator, bar.formatter = self._ticks()
        bar.minorticks_off()
        bar.outline.set_visible(False)

    def _ticks(self) -> "tuple[matplotlib.ticker.Locator, matplotlib.ticker.Formatter]":
        """Return ticks and their labels: the values themselves if they are few, else round ones."""
        from matplotlib import ticker

        if self.categories:
            every = math.ceil(len(self.categories) / _MOST_CATEGORIES)
            ranks = range(0, len(self.categories), every)
            return ticker.FixedLocator(ranks), ticker.FixedFormatter(self.categories[::every])
        own = np.unique(self.positions)
        if np.diff(self.fractions(own)).min(initial=1.0) >= _LEAST_GAP:
            return ticker.FixedLocator(own.tolist()), ticker.FixedFormatter(numbers(own))
        if self.linear_to:
            first, last = (math.log10(end) for end in (self.linear_to, self.limits[1]))
            powers = np.arange(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1.0)
            marks = [0.0, *10.0 ** powers[:: math.ceil(len(powers) / _MOST_DECADES)]]
            return ticker.FixedLocator(marks), ticker.FixedFormatter(numbers(marks))
        if self.is_log:
            low, high = self.limits
            within = (1.0, 2.0, 5.0) if high <= 100 * low else (1.0,)
            is_plain = low >= 1e-3 and high < 1e6
            return ticker.LogLocator(subs=within), (
                ticker.StrMethodFormatter("{x:g}")
                if is_plain
                else ticker.LogFormatterSciNotation(minor_thresholds=(math.inf, math.inf))
            )
        is_whole = bool((own == np.round(own)).all())
        locator = ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=is_whole)
        return locator, ticker.ScalarFormatter(useOffset=False, useMathText=True)


def scale_of(values: Values) -> Scale:
    """Return the scale of the members' values.

    Categories are numbers and bools in their order, then all others in order of occurrence.
    """
    members = [_plain(value) for value in values]
    if all(_is_number(value) for value in members):
        positions = np.array(members, dtype=float)
        low, high = positions.min(), positions.max()
        plain = Scale(positions, (), bool(low > 0 and high > 10 * low * (1 + 1e-9)))
        positive = positions[positions > 0]
        if low < 0 or plain.is_log or len(positive) == 0:
            return plain
        least = float(positive.min())
        bent = Scale(positions, (), False, least)
        spans_decades = high >= 10 * least * (1 - 1e-9)
        return bent if spans_decades and _least_gap(bent) > _least_gap(plain) else plain
    # Infinity, such as a clipping norm that never clips, is a category after the finite numbers.
    amounts = sorted({value for value in members if _is_number(value, may_be_infinite=True)})
    names = dict(zip(amounts, numbers(amounts), strict=True))

    def name(value: Any) -> str:
        return names[value] if _is_number(value, may_be_infinite=True) else _name(value)

    def order(value: Any) -> tuple[bool, float]:
        has_order = isinstance(value, bool) or _is_number(value, may_be_infinite=True)
        return not has_order, float(value) if has_order else 0.0

    ranks = {
        text: rank for rank, text in enumerate(dict.fromkeys(map(name, sorted(members, key=order))))
    }
    positions = np.array([ranks[name(value)] for value in members], dtype=float)
    return Scale(positions, tuple(ranks), False)


def ranked(values: Values) -> Scale:
    """Return a scale with every distinct value as a category, numbers in their order."""
    scale = scale_of(values)
    if scale.categories:
        return scale
    amounts, ranks = np.unique(scale.positions, return_inverse=True)
    return Scale(ranks.astype(float), tuple(numbers(amounts)), False)


def numbers(values: Sequence[SupportsFloat] | np.ndarray) -> list[str]:
    """Return numbers as texts, in full with up to five digits, else with enough to tell them apart.

    If any of them would be too long, all are multiples of powers of ten.
    """
    amounts = [float(value) for value in values]
    sizes = [abs(amount) for amount in amounts if amount and math.isfinite(amount)]
    as_powers = bool(sizes) and not 1e-3 <= min(sizes) <= max(sizes) < 1e6
    for digits in range(3, 18):
        texts = [_number(amount, max(digits, _own_digits(amount)), as_powers) for amount in amounts]
        if len(set(texts)) == len(set(amounts)):
            break
    return texts


def shades() -> "matplotlib.colors.ListedColormap":
    """Return Viridis without its last twelfth, which is too pale for a line on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](np.linspace(0, 0.92, 256)))


def _least_gap(scale: Scale) -> float:
    """Return the least distance of two positions, as a part of the scale."""
    return float(np.diff(scale.fractions(np.unique(scale.positions))).min(initial=1.0))


def _plain(value: Any) -> Any:
    """Return a scalar of NumPy or JAX as a Python value."""
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


def _own_digits(value: float) -> int:
    """Return how many significant digits a number has; 0 if they are more than five."""
    for digits in range(1, 6):
        # As exact as a 32-bit float.
        if math.isclose(float(f"{value:.{digits - 1}e}"), value, rel_tol=1e-6):
            return digits
    return 0


def _number(value: float, digits: int, as_power: bool) -> str:
    """Return `value` with some significant digits, and all digits before the decimal point."""
    if not math.isfinite(value) or value == 0:
        return {math.inf: "\N{INFINITY}", -math.inf: "\N{MINUS SIGN}\N{INFINITY}"}.get(value, "0")
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    if not as_power:
        text = f"{value:.0f}" if int(power) >= digits else f"{value:.{digits}g}"
        return text.replace("-", "\N{MINUS SIGN}")
    mantissa = mantissa.rstrip("0").rstrip(".")
    times = {"1": "", "-1": "-"}.get(mantissa, rf"{mantissa}\times")
    return rf"${times}10^{{{int(power)}}}$"
