"""A user's own rows, with the columns of the table that a run was trained on."""

from pathlib import Path

import numpy as np

from vae_jax.data import tables
from vae_jax.errors import UserError
from vae_jax.trained import TrainedModel


def read(model: TrainedModel, path: Path) -> tables.Cells:
    """Read a file of rows with the columns of a run, in any order.

    Args:
      model: of a run on a table.
      path: a .csv, .parquet or .npz file.

    Raises:
      UserError: as `tables.read_like`; a category that no training row has.
    """
    shape = model.columns
    assert shape is not None, "a run on a table has columns"
    scales = [fitted.scale for fitted in shape.columns]
    cells = tables.read_like(path, shape.plain_columns, dict(model.data.columns), scales)
    for index, fitted in enumerate(shape.columns):
        unseen = np.flatnonzero(np.array(fitted.frequencies) == 0)
        wrong = np.isin(cells.rows[:, 0, index, 0], unseen)
        if wrong.any():
            row = int(wrong.argmax())
            text = fitted.column.values[int(cells.rows[row, 0, index, 0])]
            raise UserError(
                f"{path}: column {fitted.column.name!r} holds {text!r} in row {row + 1}, which no "
                "training row has; leave the cell empty"
            )
    tables.warn_of_empty_rows(path, cells.rows, "the model knows nothing of them but its prior")
    return cells
