"""Cells of a user's frame or array as rows of a run on a table, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from vae_jax.data import columns, tables
from vae_jax.data.columns import RowShape
from vae_jax.errors import UserError

_Rows = Float[np.ndarray, "num 1 columns 1"]


def encode(cells: Any, shape: RowShape, kinds: Mapping[str, str]) -> tables.Cells:
    """Return cells as rows of a run.

    Args:
      cells: a pandas frame with the columns of the run in any order, or an array `[num, columns]`
        in its order; None, NaN and pandas's NA are cells that were not seen.
      shape: the columns of the run.
      kinds: given kinds of the run; labels and skipped columns of a frame may be there or not.

    Raises:
      UserError: columns are missing or too many, a cell is none of its column, float32 does not
        tell numbers apart, or a category is one that no training row has.
    """
    table = _arrow_of_frame(cells) if _is_frame(cells) else _arrow_of_array(cells, shape)
    scales = [fitted.scale for fitted in shape.columns]
    found = tables.encode_like("cells", table, shape.plain_columns, kinds, scales)
    columns.refuse_unseen_categories(shape, found.rows, "cells")
    tables.warn_of_empty_exposures("cells", shape.plain_columns, found.rows)
    return found


def fill(cells: Any, encoded: tables.Cells, rows: _Rows, shape: RowShape) -> Any:
    """Return a frame or an array with the values of rows where its cells were not seen.

    Args:
      cells: as `encode` took them.
      encoded: as it returned them.
      rows: with all cells that are to be filled.
      shape: the columns of the run.
    """
    missing = np.isnan(encoded.rows)
    table = tables.fill(encoded.table, shape.plain_columns, missing, rows)
    filled = cells.copy() if _is_frame(cells) else np.array(cells)
    for index, column in enumerate(shape.plain_columns):
        holes = missing[:, 0, index, 0] & ~np.isnan(rows[:, 0, index, 0])
        if not holes.any():
            continue
        values = table.column(column.name)
        if _is_frame(cells):
            series = values.to_pandas()
            series.index = cells.index
            filled[column.name] = series
        else:
            filled[holes, index] = values.filter(holes).to_pylist()
    return filled


def _is_frame(cells: Any) -> bool:
    return hasattr(cells, "columns") and hasattr(cells, "to_numpy")


def _arrow_of_frame(frame: Any) -> Any:
    import pyarrow

    names = [str(name) for name in frame.columns]
    try:
        table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    except (pyarrow.ArrowException, ValueError) as error:
        raise UserError(f"cells are no table: {error}") from None
    return table.rename_columns(names)


def _arrow_of_array(cells: Any, shape: RowShape) -> Any:
    import pyarrow

    array = np.asarray(cells)
    names = [column.name for column in shape.plain_columns]
    if array.ndim != 2 or array.shape[1] != len(names) or len(array) == 0:
        raise UserError(
            f"cells have shape {array.shape}; this run takes [num, {len(names)}], the columns "
            f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        )
    arrays = {}
    for index, name in enumerate(names):
        try:
            arrays[name] = pyarrow.array(array[:, index], from_pandas=True)
        except (pyarrow.ArrowException, ValueError, TypeError):
            raise UserError(
                f"cells: column {name!r} holds values of several types; give numbers or texts"
            ) from None
    return pyarrow.table(arrays)
