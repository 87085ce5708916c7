"""Cells of a user's frame or array as rows of a run on a table, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from vae_jax.data import columns, tables
from vae_jax.data.columns import RowShape
from vae_jax.errors import UserError, first_line

_Rows = Float[np.ndarray, "num 1 columns 1"]


def encode(cells: Any, shape: RowShape, kinds: Mapping[str, str]) -> tables.Cells:
    """Return cells as rows of a run.

    Args:
      cells: a pandas frame with the columns of the run in any order, or an array `[num, columns]`
        in its order; None, NaN and pandas's NA are cells that were not seen.
      shape: the columns of the run.
      kinds: given kinds of the run; labels and skipped columns of a frame may be there or not.

    Raises:
      UserError: cells are no table, columns are missing, too many or of the same name, a cell does
        not fit its column, float32 does not tell numbers apart, or a category is one that no
        training row has.
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
    own_names = {str(name): name for name in cells.columns} if _is_frame(cells) else {}
    for index, column in enumerate(shape.plain_columns):
        holes = missing[:, 0, index, 0] & ~np.isnan(rows[:, 0, index, 0])
        if not holes.any():
            continue
        values = table.column(column.name)
        if _is_frame(cells):
            name = own_names[column.name]
            series = values.to_pandas()
            series.index = cells.index
            filled[name] = _of_type(series, cells[name].dtype)
        else:
            filled[holes, index] = values.filter(holes).to_pylist()
    return filled


def _of_type(series: Any, dtype: Any) -> Any:
    """Return a series in the type that it had before it was filled, if that holds its values."""
    if hasattr(dtype, "categories") and not series.dropna().isin(dtype.categories).all():
        return series
    try:
        return series.astype(dtype)
    except (TypeError, ValueError):
        return series


def _is_frame(cells: Any) -> bool:
    # Other libraries' frames have no `iloc`.
    return all(hasattr(cells, name) for name in ("columns", "to_numpy", "iloc"))


def _arrow_of_frame(frame: Any) -> Any:
    import pyarrow

    try:
        names = [str(name) for name in frame.columns]
        tables.check_names("the frame", names)
        table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    except (pyarrow.ArrowException, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"cells are no table: {first_line(error)}; give a pandas frame or an array"
        ) from None
    return table.rename_columns(names)


def _arrow_of_array(cells: Any, shape: RowShape) -> Any:
    import pyarrow

    names = [column.name for column in shape.plain_columns]
    if hasattr(cells, "columns"):
        # As an array it would lose the names of its columns.
        raise UserError(
            f"cells are a {type(cells).__name__} of {type(cells).__module__.split('.')[0]}; give a "
            "pandas frame or an array"
        )
    try:
        array = np.asarray(cells)
    except ValueError as error:
        raise UserError(
            f"cells are no array: {first_line(error)}; give rows of {len(names)} cells each"
        ) from None
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
