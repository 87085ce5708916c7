"""A user's own rows, with the columns of the table that a run was trained on."""

from pathlib import Path

from vae_jax.data import columns, tables
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
    columns.refuse_unseen_categories(shape, cells.rows, path)
    tables.warn_of_empty_rows(path, cells.rows, "the model knows nothing of them but its prior")
    tables.warn_of_empty_exposures(path, shape.plain_columns, cells.rows)
    return cells
