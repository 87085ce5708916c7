"""Columns of a table: what their values are, and the statistics that a model takes of them.

A table is a `Dataset` whose images are its rows, `[num, 1, columns, 1]`, in the units of the file,
with NaN where a cell was not seen. A category, and a binary value, is the index of its text.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from vae_jax.data.csv_style import CsvStyle
from vae_jax.errors import UserError

# `exposure` is what the counts of a row are proportional to; it is given, and not modelled.
Kind = Literal["real", "positive", "count", "binary", "category", "exposure"]
# A label is kept beside the rows; a skipped column is left out.
ToldKind = Kind | Literal["label", "skip"]
KINDS: tuple[str, ...] = (*get_args(Kind), "label", "skip")

# A text column with more distinct values, most of which stand in one row, names rows.
_MOST_CATEGORIES = 50
# The largest value of a positive column over its median.
_SKEWED = 5.0
_MOST_DECIMALS = 6
# Whole numbers up to here are exact in float32.
_LARGEST_COUNT = 2**24
# Whole numbers up to here are exact in float64.
LARGEST_WHOLE = 2**53
# The range of float32 without a loss of digits; JAX takes smaller numbers for 0.
_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST = float(np.finfo(np.float32).max)
# Float32 tells a column's values apart if it has this share of them, or if what it rounds off is
# this small a share of their spread.
_LEAST_DISTINCT = 0.9
_MOST_ROUNDED = 1e-4
# The same share for rows given to a trained model, whose columns can no longer be changed.
_MOST_ROUNDED_AFTER = 1e-2
# What numbers in float64 that are meant to be equal differ by, as a share of them.
_LAST_DIGITS = 1e-13
# What rounding may move a mean by, in standard deviations.
_MOST_MOVED = 5e-3
_SHOWN = 5
# Signs of units, before or after a number.
_SIGNS = "%$€£"
# A text that is a number with whatever decimal mark.
_LIKE_NUMBER = r"[-+]?[\d.,]*\d[\d.,]*"
# Different numbers among texts, from which on a column is hardly one of categories.
_MANY_NUMBERS = 10


@dataclasses.dataclass(frozen=True)
class Column:
    """A column as a file has it.

    Attributes:
        name: its name.
        kind: what its values are.
        values: the texts of a category or a binary value by their index; () for numbers.
        decimals: digits after the point that write all of its values; -1 if there is no such
            number.
    """

    name: str
    kind: Kind
    values: tuple[str, ...] = ()
    decimals: int = -1


@dataclasses.dataclass(frozen=True)
class FittedColumn:
    """A column and its statistics over training rows.

    Attributes:
        column: the column.
        center: mean of what `transformed` makes of its values.
        scale: their standard deviation.
        mean: mean of the values, of a category 0.
        frequencies: share of each text of a category or a binary value.
        has_missing: whether a training row lacks it.
    """

    column: Column
    center: float
    scale: float
    mean: float
    frequencies: tuple[float, ...]
    has_missing: bool


class RowShape(tuple[int, int, int]):
    """The shape of a row, 1, columns, 1, which knows its columns.

    Shapes of the same columns are equal, in whatever style their files are written.

    Attributes:
        columns: the columns, fitted to training rows.
        csv_style: style of the training rows' CSV file, in which drawn rows are written.
    """

    columns: tuple[FittedColumn, ...]
    csv_style: CsvStyle

    def __new__(
        cls, columns: Sequence[FittedColumn], csv_style: CsvStyle | None = None
    ) -> "RowShape":
        shape = super().__new__(cls, (1, len(columns), 1))
        shape.columns = tuple(columns)
        shape.csv_style = csv_style or CsvStyle()
        return shape

    def __getnewargs__(self) -> tuple[tuple[FittedColumn, ...], CsvStyle]:
        return self.columns, self.csv_style

    def __eq__(self, other: object) -> bool:
        same = tuple.__eq__(self, other) if isinstance(other, tuple) else False
        return same and (not isinstance(other, RowShape) or self.columns == other.columns)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((*self, *self.columns))

    @property
    def plain_columns(self) -> tuple[Column, ...]:
        """The columns without their statistics."""
        return tuple(fitted.column for fitted in self.columns)

    def to_metadata(self) -> list[dict[str, Any]]:
        """Return what JSON holds of the columns."""
        return [dataclasses.asdict(column) for column in self.columns]

    @classmethod
    def from_metadata(
        cls, described: Sequence[Mapping[str, Any]], csv_style: CsvStyle | None = None
    ) -> "RowShape":
        """Return the inverse of `to_metadata`, in a style of CSV files."""
        return cls([_fitted_from(content) for content in described], csv_style)

    def squared_errors(
        self,
        rows: Float[np.ndarray, "num 1 columns 1"],
        known: Float[np.ndarray, "num 1 columns 1"],
    ) -> Float[np.ndarray, "num 1 columns 1"]:
        """Return the squared error of each cell, NaN where it is not known or not modelled.

        Numbers are standardised as the encoder sees them. A wrong category counts 1.
        """
        errors = np.full(known.shape, np.nan)
        for index, fitted in enumerate(self.columns):
            kind, cells = fitted.column.kind, (slice(None), 0, index, 0)
            if kind in ("binary", "category"):
                wrong = (rows[cells] != known[cells]).astype(np.float64)
                errors[cells] = np.where(np.isnan(known[cells]), np.nan, wrong)
            elif kind != "exposure":
                difference = transformed(kind, rows[cells]) - transformed(kind, known[cells])
                errors[cells] = np.square(difference / fitted.scale)
        return errors

    def problem(self, rows: Float[np.ndarray, "num 1 columns 1"]) -> str | None:
        """Return why rows cannot be of these columns; None if they can."""
        for index, column in enumerate(self.plain_columns):
            found = unfit(column, rows[:, 0, index, 0])
            if found is not None:
                return found
        return None


def _fitted_from(content: Mapping[str, Any]) -> FittedColumn:
    column = Column(**{**content["column"], "values": tuple(content["column"]["values"])})
    frequencies = tuple(content["frequencies"])
    return FittedColumn(**{**content, "column": column, "frequencies": frequencies})


def transformed(kind: str, values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return numbers as they are standardised: the log of positive ones, log(1 + count)."""
    if kind in ("positive", "exposure"):
        return np.log(values)
    return np.log1p(values) if kind == "count" else values


def inverse_transformed(kind: str, values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the inverse of `transformed`."""
    if kind in ("positive", "exposure"):
        return np.exp(values)
    return np.expm1(values) if kind == "count" else values


def unfit(
    column: Column, values: Float[np.ndarray, " num"], setting: str | None = None
) -> str | None:
    """Return why seen values are none of a column; None if they are.

    Args:
        column: the column.
        values: encoded, NaN where a cell is empty.
        setting: the name of the one that says the column's kind, if it can still be said.
    """
    seen = values[~np.isnan(values)]
    wrong = ~(np.abs(seen) <= _LARGEST)
    expected = f"finite numbers up to {_LARGEST:.1e}, the largest of float32; change the unit"
    if not wrong.any():
        if column.kind in ("positive", "exposure"):
            wrong, expected = seen <= 0, "numbers above 0"
            if not wrong.any():
                wrong = seen < _SMALLEST
                expected = f"numbers from {_SMALLEST:.1e}, the smallest of float32; change the unit"
                if column.kind == "positive":
                    # No unit holds p-values from 1e-200 to 1.
                    expected += f", take logs, or say {setting}=real" if setting else ", take logs"
        elif column.kind == "count":
            wrong = (seen < 0) | (seen != np.round(seen)) | (seen > _LARGEST_COUNT)
            expected = f"whole numbers from 0 to {_LARGEST_COUNT}"
        elif column.kind in ("binary", "category"):
            wrong = (seen < 0) | (seen >= len(column.values)) | (seen != np.round(seen))
            expected = f"indices of its {len(column.values)} values"
    if not wrong.any():
        return None
    return (
        f"column {column.name!r}: {seen[wrong][0]:g}, where values of kind {column.kind} are "
        + (expected)
    )


def merged(
    column: Column, values: Float[np.ndarray, " num"], spread: float | None = None
) -> str | None:
    """Return why float32 cannot tell a column's numbers apart; None if it can.

    Numbers far from 0 and close together, such as times in seconds since 1970, have no digits left.

    Args:
        column: of numbers, or of categories, whose indices float32 always tells apart.
        values: in float64, of the column's kind, NaN where a cell is empty.
        spread: of a trained model's numbers after `transformed`, on which it sees them; the
            interquartile range of the different values by default, which a few outliers do not
            widen.
    """
    if np.array_equal(values, values.astype(np.float32), equal_nan=True):
        return None
    seen = np.unique(values[~np.isnan(values)])
    # Sums in another order differ in their last digits; whole numbers are exact.
    apart = np.diff(seen, prepend=-math.inf) > _LAST_DIGITS * np.abs(seen)
    seen = seen[apart | (seen == np.round(seen))]
    stored = seen.astype(np.float32).astype(np.float64)
    if column.kind == "real":
        stored[np.abs(stored) < _SMALLEST] = 0
    num = len(np.unique(stored))
    if num >= _LEAST_DISTINCT * len(seen):
        return None
    exact = transformed(column.kind, seen)
    share = _MOST_ROUNDED_AFTER
    if spread is None:
        low, high = np.quantile(exact, (0.25, 0.75))
        share, spread = _MOST_ROUNDED, float(high - low)
    if np.abs(transformed(column.kind, stored) - exact).max() <= share * spread:
        return None
    held = np.abs(seen) >= _SMALLEST
    remedy = "change their unit"
    if np.abs(seen).max() > _SMALLEST / _MOST_ROUNDED:
        remedy = f"subtract an offset, such as {seen[0]:.15g}, or change their unit"
        if len(np.unique(stored[held])) >= _LEAST_DISTINCT * held.sum():
            # Numbers of many magnitudes, such as p-values.
            remedy = f"take logs, or 0 for those below {_SMALLEST:.1e}"
    return (
        f"column {column.name!r}: {len(seen)} different values from {seen[0]:.15g} to "
        f"{seen[-1]:.15g} are only {num} in float32; {remedy}"
    )


def infer(name: str, content: Sequence[str | None] | np.ndarray) -> tuple[Kind, str | None]:
    """Return the kind of a column, and why it cannot be inferred.

    Texts are categories, or binary if there are two; but not if most of them are numbers, as in a
    column with two kinds of decimal points, with decimal commas or with percent signs. Numbers are
    binary if they are 0 and 1. They are counts if they are whole, none is negative, and their
    variance is at least half their mean. They are positive if all are above 0 and the largest is at
    least five times the median. All others are real.

    Args:
        name: the column's name.
        content: numbers, with NaN where there is none, or texts, with None.
    """
    if not isinstance(content, np.ndarray):
        texts = [text for text in content if text is not None]
        num = len(set(texts))
        numbers = {text for text in texts if re.fullmatch(r"-?\d+([.,]\d+)?", text)}
        others = [text for text in texts if text not in numbers or "," in text]
        like_numbers = {text for text in texts if re.fullmatch(_LIKE_NUMBER, text)}
        commas = [text for text in texts if text in like_numbers and "," in text]
        if others and len(numbers) >= max(_MANY_NUMBERS, num / 2):
            one = min(numbers - {*others}, default=others[-1])
            return "category", (
                f"column {name!r} holds {len(numbers)} different numbers among texts, such as "
                f"{one!r} and {others[0]!r}"
            )
        if commas and len(like_numbers) > num / 2:
            return "category", (
                f"column {name!r} holds numbers with a comma, such as {commas[0]!r}, which are "
                "texts here; write a point in place of a decimal comma"
            )
        marked = [text for text in texts if text not in like_numbers and _is_marked(text)]
        if marked and len({*like_numbers, *marked}) > num / 2:
            (sign,) = re.findall(f"[{_SIGNS}]", marked[0])
            return "category", (
                f"column {name!r} holds numbers with {sign!r}, such as {marked[0]!r}, which are "
                f"texts here; remove {sign!r}"
            )
        if num > _MOST_CATEGORIES and num > len(texts) / 2:
            shown = ", ".join(map(repr, sorted(set(texts))[:2]))
            return "category", (
                f"column {name!r} holds {num} different texts in {len(texts)} rows, such as {shown}"
            )
        return ("binary" if num == 2 else "category"), None
    seen = content[~np.isnan(content)].astype(np.float64)
    if np.isinf(seen).any():
        # `column_of` refuses it.
        return "real", None
    if np.isin(seen, (0, 1)).all():
        return "binary", None
    if (seen == np.round(seen)).all() and seen.min() >= 0 and seen.max() <= _LARGEST_COUNT:
        if seen.var() >= seen.mean() / 2:
            return "count", None
    elif seen.min() > 0 and seen.max() >= _SKEWED * np.median(seen):
        return "positive", None
    return "real", None


def _is_marked(text: str) -> bool:
    """Return whether a text is a number with one sign of a unit before or after it."""
    before, after = rf"[-+]?[{_SIGNS}]\s*{_LIKE_NUMBER}", rf"{_LIKE_NUMBER}\s*[{_SIGNS}]"
    return re.fullmatch(f"{before}|{after}", text.strip()) is not None


def in_words(columns: Sequence[Column]) -> str:
    """Return the kinds of columns in a line: `2 real (age, size), 1 count (visits)`."""
    names: dict[str, list[str]] = {}
    for column in columns:
        names.setdefault(column.kind, []).append(column.name)
    return ", ".join(
        f"{len(own)} {kind} ({', '.join(own[:_SHOWN])}{', ...' if len(own) > _SHOWN else ''})"
        for kind, own in names.items()
    )


def column_of(
    name: str,
    content: Sequence[str | None] | np.ndarray,
    kind: Kind,
    setting: str | None = None,
) -> Column:
    """Return the column that cells of a kind are of.

    Args:
        name: the column's name.
        content: numbers, with NaN where there is none, or texts, with None.
        kind: what the values are.
        setting: the name of the one that says the kind, for errors; None where there is none.

    Raises:
        UserError: a cell is none of the kind, or float32 does not tell the numbers apart.
    """
    if kind in ("binary", "category"):
        if isinstance(content, np.ndarray) and np.isinf(content).any():
            row = int(np.isinf(content).argmax())
            raise UserError(
                f"column {name!r} holds {content[row]:g} in row {row + 1}, where values of kind "
                f"{kind} are texts or finite numbers; leave the cell empty if it was not seen"
            )
        values = distinct_texts(content)
        if kind == "binary" and len(values) > 2:
            raise UserError(
                f"column {name!r} has {len(values)} different values, such as "
                f"{', '.join(values[:3])}; say category or the kind of its numbers"
            )
        return Column(name, kind, values)
    numbers = as_numbers(name, content, kind)
    column = Column(name, kind, (), num_decimals(numbers))
    problem = unfit(column, numbers, setting)
    if problem is None:
        problem = merged(column, numbers)
        if problem is not None:
            problem += ", or leave it out" + (f" by {setting}=skip" if setting else "")
    if problem is not None:
        raise UserError(problem)
    return column


def encode(
    column: Column, content: Sequence[str | None] | np.ndarray, unknown: str = "refuse"
) -> Float[np.ndarray, " num"]:
    """Return a column's cells as numbers, NaN where they are empty.

    Args:
        column: the column.
        content: numbers or texts.
        unknown: "refuse", or "missing", by which a text that the column does not have is NaN.

    Raises:
        UserError: a cell is none of the column's kind.
    """
    if column.kind in ("binary", "category"):
        codes = _codes(column.values, content)
        unknown_rows = np.flatnonzero(codes < 0)
        if len(unknown_rows) and unknown == "refuse":
            row = int(unknown_rows[0])
            (text,) = as_texts(content[row : row + 1])
            raise UserError(
                f"column {column.name!r} holds {text!r} in row {row + 1}, which is none of "
                f"{_listed(column.values)}"
            )
        codes[unknown_rows] = math.nan
        return codes
    values = as_numbers(column.name, content, column.kind)
    problem = unfit(column, values)
    if problem is not None:
        raise UserError(problem)
    return values


def _codes(
    values: Sequence[str], content: Sequence[str | None] | np.ndarray
) -> Float[np.ndarray, " num"]:
    """Return the index of each cell's text, NaN of an empty cell, -1 of one that is not known."""
    if isinstance(content, np.ndarray):
        distinct, place = np.unique(content, return_inverse=True)
        codes: np.ndarray = _codes(values, as_texts(distinct))[place]
        return codes
    index = {value: float(i) for i, value in enumerate(values)}
    found = [math.nan if text is None else index.get(text, -1.0) for text in content]
    return np.array(found, np.float64)


def as_texts(content: Sequence[str | None] | np.ndarray) -> Sequence[str | None]:
    """Return cells as texts, whole numbers without a point, others with all of their digits.

    Digits are those of the array's type: 0.1 is `0.1` in float32, too.
    """
    if not isinstance(content, np.ndarray):
        return content
    return [None if np.isnan(number) else _as_text(number) for number in content]


def _as_text(number: np.floating) -> str:
    # Minus 0 is 0.
    return f"{number + 0:.0f}" if float(number).is_integer() else str(number)


def as_numbers(
    name: str, content: Sequence[str | None] | np.ndarray, kind: str
) -> Float[np.ndarray, " num"]:
    """Return cells as numbers, in float64.

    Raises:
        UserError: one is a text, or a whole number that float64 rounds.
    """
    if isinstance(content, np.ndarray):
        return content.astype(np.float64)
    values = np.full(len(content), math.nan)
    for row, text in enumerate(content):
        try:
            values[row] = math.nan if text is None else float(text)
        except ValueError:
            raise UserError(
                f"column {name!r} holds {text!r} in row {row + 1}, where values of kind {kind} "
                "are numbers; leave the cell empty if it was not seen"
            ) from None
        number = float(values[row])
        is_large = LARGEST_WHOLE <= abs(number) < math.inf
        if is_large and re.fullmatch(r"[-+]?\d+", str(text)) and int(str(text)) != number:
            raise UserError(
                f"column {name!r} holds {text} in row {row + 1}, where values of kind {kind} are "
                f"whole numbers that float64 holds, such as all up to {LARGEST_WHOLE}; subtract an "
                "offset, or say category or skip"
            )
    return values


def num_decimals(values: Float[np.ndarray, " num"]) -> int:
    """Return the digits after the point that write all seen values; -1 if more than six."""
    seen = values[np.isfinite(values)]
    for decimals in range(_MOST_DECIMALS + 1):
        if np.array_equal(np.round(seen, decimals), seen):
            return decimals
    return -1


def distinct_texts(content: Sequence[str | None] | np.ndarray) -> tuple[str, ...]:
    """Return the different texts of cells: numbers by size, others by alphabet."""
    if isinstance(content, np.ndarray):
        content = as_texts(np.unique(content))
    found = sorted({text for text in content if text is not None})
    try:
        sizes = {text: float(text) for text in found}
    except ValueError:
        return tuple(found)
    # NaN has no size.
    return tuple(
        found if any(map(math.isnan, sizes.values())) else sorted(found, key=lambda t: sizes[t])
    )


def fit(
    columns: Sequence[Column],
    rows: Float[np.ndarray, "num 1 columns 1"],
    where: str,
    csv_style: CsvStyle | None = None,
) -> RowShape:
    """Return the shape of a row with the columns' statistics over training rows.

    Statistics have six digits, so that machines that add in another order have the same, and means
    far from 0 have as many as the spread of the values takes.

    Args:
        columns: one or more.
        rows: the training rows.
        where: the rows' name, for errors.
        csv_style: of their file, if that is a CSV file.

    Raises:
        UserError: a column has a single value, or none, or a category is not among the rows.
    """
    fitted = []
    for index, column in enumerate(columns):
        values = rows[:, 0, index, 0].astype(np.float64)
        seen = values[~np.isnan(values)]
        out = f"leave it out by data.columns.{column.name}=skip"
        if len(seen) == 0:
            raise UserError(f"{where}: column {column.name!r} is empty; {out}")
        if column.kind != "exposure" and seen.min() == seen.max():
            value = column.values[int(seen[0])] if column.values else f"{seen[0]:g}"
            raise UserError(f"{where}: column {column.name!r} is {value} in every row; {out}")
        center = scale = mean = 0.0
        frequencies: tuple[float, ...] = ()
        if column.kind in ("binary", "category"):
            counts = np.bincount(seen.astype(int), minlength=len(column.values))
            frequencies = tuple(map(_rounded, (counts / counts.sum()).tolist()))
            scale = 1.0
        else:
            numbers = transformed(column.kind, seen)
            # The deviation of equal numbers is what the sum rounds off, not always 0.
            scale = _rounded(numbers.std()) if seen.min() < seen.max() else 1.0
            center = _rounded_mean(numbers)
            mean = _rounded_mean(seen)
        missing = len(seen) < len(values)
        fitted.append(FittedColumn(column, center, scale, mean, frequencies, missing))
    return RowShape(fitted, csv_style)


def unseen_categories(
    shape: RowShape, rows: Float[np.ndarray, "num 1 columns 1"], field: str, unknown: str
) -> Float[np.ndarray, "num 1 columns 1"]:
    """Return rows in which categories that no training row has are NaN, or refuse them.

    Args:
        shape: fitted to the training rows.
        rows: of another split.
        field: the setting that names it, for errors.
        unknown: "refuse" or "missing".

    Raises:
        UserError: there is such a category, and it is refused.
    """
    for index, fitted in enumerate(shape.columns):
        if not fitted.frequencies:
            continue
        unseen = np.flatnonzero(np.array(fitted.frequencies) == 0)
        wrong = np.isin(rows[:, 0, index, 0], unseen)
        if not wrong.any():
            continue
        column = fitted.column
        text = column.values[int(rows[wrong.argmax(), 0, index, 0])]
        if unknown == "refuse":
            raise UserError(
                f"{field}: column {column.name!r} holds {text!r}, which no row of data.train_split "
                "has; use a training set with every category, or take it for an empty cell by "
                "data.unknown_categories=missing"
            )
        rows = rows.copy()
        rows[wrong, 0, index, 0] = math.nan
    return rows


def refuse_unseen_categories(
    shape: RowShape, rows: Float[np.ndarray, "num 1 columns 1"], where: object
) -> None:
    """Refuse a user's rows with a category that no training row has.

    Args:
        shape: fitted to the training rows.
        rows: encoded.
        where: the rows' name, for errors.

    Raises:
        UserError: there is such a category.
    """
    for index, fitted in enumerate(shape.columns):
        unseen = np.flatnonzero(np.array(fitted.frequencies) == 0)
        wrong = np.isin(rows[:, 0, index, 0], unseen)
        if wrong.any():
            row = int(wrong.argmax())
            text = fitted.column.values[int(rows[row, 0, index, 0])]
            raise UserError(
                f"{where}: column {fitted.column.name!r} holds {text!r} in row {row + 1}, which no "
                "training row has; leave the cell empty"
            )


def refuse_other(shape: RowShape, columns: Sequence[Column] | None, where: str) -> None:
    """Refuse examples of other columns than those that a run was trained on.

    Raises:
        UserError: they are others.
    """
    ours = shape.plain_columns
    theirs = tuple(columns or ())
    if [c.name for c in ours] != [c.name for c in theirs]:
        raise UserError(
            f"{where} has the columns {_listed([c.name for c in theirs])}; this run was trained on "
            f"{_listed([c.name for c in ours])}"
        )
    for our, their in zip(ours, theirs, strict=True):
        if (our.kind, our.values) != (their.kind, their.values):
            raise UserError(
                f"{where}: column {our.name!r} is {_described(their)}; this run was trained on "
                f"{_described(our)}"
            )


def _described(column: Column) -> str:
    return f"{column.kind} of {_listed(column.values)}" if column.values else column.kind


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(str, names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown or "none"


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _rounded_mean(values: Float[np.ndarray, " num"]) -> float:
    """Return the mean to six digits, or to more if these would move it by a visible share.

    The years 2001 to 2010 have a mean of six digits, the numbers 12345601 to 12345610 have not.
    """
    mean, spread = float(values.mean()), float(values.std())
    rounded = _rounded(mean)
    if values.min() == values.max() or abs(rounded - mean) <= _MOST_MOVED * spread:
        return rounded
    decimals = -math.floor(math.log10(_MOST_MOVED * spread))
    return round(mean, decimals)
