"""A list of the cells that were filled, each with an interval or a probability."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from vae_jax.data import tables
from vae_jax.data.columns import Column
from vae_jax.data.csv_style import CsvStyle
from vae_jax.models.imputation import Imputed

# The probability of the intervals.
COVERAGE = 0.9

Rows = Float[np.ndarray, "rows 1 columns 1"]


class FilledCells(NamedTuple):
    """Numbers on cells that were filled, `[cells]` each, by row and column.

    Attributes:
      rows: indices of the rows.
      columns: indices of the columns.
      values: expected numbers, or indices of the likeliest category or binary value.
      low: start of the interval of a number; NaN of other values.
      high: its end.
      probabilities: of a category or binary value; NaN of numbers.
      draws: `[draws, cells]`.
    """

    rows: Int[np.ndarray, " cells"]
    columns: Int[np.ndarray, " cells"]
    values: Float[np.ndarray, " cells"]
    low: Float[np.ndarray, " cells"]
    high: Float[np.ndarray, " cells"]
    probabilities: Float[np.ndarray, " cells"]
    draws: Float[np.ndarray, "draws cells"]


def interval(
    draws: Float[np.ndarray, "draws ..."], coverage: float = COVERAGE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantiles between which a share of the draws lies, as many below as above."""
    low, high = np.quantile(draws, [(1 - coverage) / 2, (1 + coverage) / 2], axis=0)
    return low, high


def collect(
    columns: Sequence[Column],
    missing: Bool[np.ndarray, "rows 1 columns 1"],
    found: Imputed,
    rows: Int[np.ndarray, " rows"],
    num_kept: int,
) -> FilledCells:
    """Return what is kept of imputed rows: numbers on their filled cells, and some draws of these.

    Args:
      columns: of the table.
      missing: the cells that were filled.
      found: the rows after.
      rows: the index of each in the user's file.
      num_kept: number of draws to keep.
    """
    own_rows, own_columns = np.nonzero(missing[:, 0, :, 0])
    values = np.asarray(found.point)[own_rows, 0, own_columns, 0]
    draws = np.asarray(found.draws)[:, own_rows, 0, own_columns, 0]
    is_number = np.array([not column.values for column in columns])[own_columns]
    low, high = (np.where(is_number, end, np.nan) for end in interval(draws))
    probabilities = np.where(is_number, np.nan, (draws == values).mean(axis=0))
    # A view would keep all draws in memory.
    kept = draws[:num_kept].copy()
    return FilledCells(rows[own_rows], own_columns, values, low, high, probabilities, kept)


def joined(parts: Sequence[FilledCells]) -> FilledCells:
    """Return the cells of all parts, in their order."""
    return FilledCells(*(np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)))


def table(columns: Sequence[Column], cells: FilledCells, style: CsvStyle) -> Any:
    """Return an Arrow table with a line per filled cell, by column and row, rows counted from 1.

    Args:
      columns: of the table.
      cells: the filled ones.
      style: of the texts of values.
    """
    import pyarrow

    parts = []
    for index, column in enumerate(columns):
        own = np.flatnonzero(cells.columns == index)
        ends = [tables.decode(column, end[own]) for end in (cells.low, cells.high)]
        if column.values:
            ends = [pyarrow.nulls(len(own))] * 2
        parts.append(
            pyarrow.table(
                {
                    "row": cells.rows[own] + 1,
                    "column": pyarrow.array([column.name] * len(own), pyarrow.string()),
                    "value": pyarrow.array(
                        tables.texts_of(column, cells.values[own], style), pyarrow.string()
                    ),
                    "low": ends[0].cast(pyarrow.float64()),
                    "high": ends[1].cast(pyarrow.float64()),
                    "probability": pyarrow.array(
                        np.round(cells.probabilities[own], 3), from_pandas=True
                    ),
                }
            )
        )
    return pyarrow.concat_tables(parts)
