"""Columns of mixed kinds in the arrays and frames that estimators of scikit-learn take."""

import numbers
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from jaxtyping import Float

from vae_jax.data import columns
from vae_jax.data.columns import Kind, RowShape
from vae_jax.errors import UserError

# Numbers, with NaN where a cell is empty, or texts, with None.
_Content = np.ndarray | list[str | None]
_Rows = Float[np.ndarray, "rows 1 features 1"]
_MOST_SHOWN = 10


def fit(
    cells: np.ndarray, names: Sequence[str], given: Mapping[Hashable, str]
) -> tuple[RowShape, _Rows]:
    """Return the columns of cells with their statistics, and the cells as encoded rows.

    Args:
      cells: `[rows, features]`, numbers or objects.
      names: of the features.
      given: kinds by name or index of a feature; the others are inferred.

    Raises:
      ValueError: a kind or a feature is not known, or a feature has no kind, one value, or none.
    """
    kinds = _given_kinds(names, given)
    found, encoded = [], []
    for index, name in enumerate(names):
        content = _content(cells[:, index])
        try:
            column = columns.column_of(name, content, _kind(name, content, kinds.get(index)))
        except UserError as error:
            raise ValueError(str(error)) from None
        found.append(column)
        encoded.append(columns.encode(column, content))
    exposures = [column.name for column in found if column.kind == "exposure"]
    if len(exposures) > 1 or len(exposures) == len(names):
        raise ValueError(f"columns={dict(given)!r} must say at most one exposure beside others")
    rows = _stacked(encoded)
    for index, column in enumerate(found):
        values = rows[:, 0, index, 0]
        seen = values[~np.isnan(values)]
        if column.kind != "exposure" and seen.min() == seen.max():
            value = column.values[0] if column.values else f"{seen[0]:g}"
            raise ValueError(f"column {column.name!r} is {value} in every row; leave it out")
    return columns.fit(found, rows, "X"), rows


def encode(shape: RowShape, cells: np.ndarray) -> _Rows:
    """Return cells `[rows, features]` as rows of known columns.

    Raises:
      ValueError: a cell is none of its column's kind, or a category that was not there in fitting.
    """
    found = shape.plain_columns
    try:
        encoded = [columns.encode(c, _content(cells[:, i])) for i, c in enumerate(found)]
    except UserError as error:
        raise ValueError(str(error)) from None
    return _stacked(encoded)


def decode(shape: RowShape, rows: _Rows) -> np.ndarray:
    """Return rows as cells `[rows, features]`: floats, or objects if some columns are texts."""
    parts: list[np.ndarray] = []
    for index, column in enumerate(shape.plain_columns):
        values = rows[:, 0, index, 0]
        if column.values:
            values = np.array(column.values, object)[np.round(values).astype(int)]
            if all(map(_is_number, column.values)):
                values = values.astype(np.float32)
        parts.append(values)
    cells = np.empty((len(rows), len(parts)), np.result_type(*parts))
    for index, values in enumerate(parts):
        cells[:, index] = values
    return cells


def _given_kinds(names: Sequence[str], given: Mapping[Hashable, str]) -> dict[int, str]:
    kinds = {}
    for feature, kind in given.items():
        if kind not in get_args(Kind):
            raise ValueError(
                f"columns={{{feature!r}: {kind!r}}} must be one of {', '.join(get_args(Kind))}"
            )
        if isinstance(feature, numbers.Integral) and 0 <= feature < len(names):
            kinds[int(feature)] = kind
        elif feature in names:
            kinds[names.index(str(feature))] = kind
        else:
            shown = ", ".join(names[:_MOST_SHOWN])
            raise ValueError(f"columns={{{feature!r}: {kind!r}}} names no feature of {shown}")
    return kinds


def _kind(name: str, content: _Content, given: str | None) -> Kind:
    """Return the kind of a column.

    Raises:
      UserError: it has no value, or no kind that can be inferred.
    """
    is_empty = (
        np.isnan(content).all()
        if isinstance(content, np.ndarray)
        else all(text is None for text in content)
    )
    if is_empty:
        raise UserError(f"column {name!r} is empty; leave it out")
    if given is not None:
        kind: Kind = given  # type: ignore[assignment]
        return kind
    kind, problem = columns.infer(name, content)
    if problem is not None:
        raise UserError(f"{problem}; leave it out, or say columns={{{name!r}: 'category'}}")
    return kind


def _content(cells: np.ndarray) -> _Content:
    """Return cells of a feature as numbers, or as texts if one is no number.

    Whole numbers that float64 would round are texts.
    """
    if cells.dtype.kind == "f":
        return cells
    if cells.dtype.kind in "biu" and not any(map(_is_rounded, (cells.min(), cells.max()))):
        return cells.astype(np.float64)
    known = [None if _is_missing(cell) else cell for cell in cells]
    if any(map(_is_rounded, known)):
        return [None if cell is None else str(cell) for cell in known]
    if all(cell is None or isinstance(cell, numbers.Real | np.bool_) for cell in known):
        return np.array([np.nan if cell is None else float(cell) for cell in known], np.float64)
    return [None if cell is None else str(cell) for cell in known]


def _is_rounded(cell: Any) -> bool:
    """Return whether a cell is a whole number that float64 would round."""
    return isinstance(cell, numbers.Integral) and abs(int(cell)) > columns.LARGEST_WHOLE


def _is_missing(cell: Any) -> bool:
    """Return whether a cell is None, NaN, or pandas's NA or NaT."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, numbers.Real) and bool(cell != cell)


def _is_number(text: str) -> bool:
    """Return whether a text is that of a number: 01 is not."""
    try:
        number = float(text)
    except ValueError:
        return False
    return columns.as_texts(np.array([number])) == [text]


def _stacked(encoded: Sequence[np.ndarray]) -> _Rows:
    return np.stack(encoded, axis=-1).astype(np.float32)[:, None, :, None]
