"""Fill the empty cells of a user's table by a trained run."""

from pathlib import Path

import numpy as np
from jaxtyping import Array, Key

from vae_jax.applications.imputation import filled_cells, written_files
from vae_jax.data import tables
from vae_jax.errors import UserError
from vae_jax.evaluation import foreign_rows
from vae_jax.evaluation.progress import progress_bar
from vae_jax.trained import TrainedModel

# Draws by which intervals are measured.
_NUM_DRAWS = 200


def fill_file(
    model: TrainedModel,
    source: Path,
    target: Path,
    key: Key[Array, ""],
    *,
    num_samples: int,
    num_files: int,
) -> str:
    """Write a table with its empty cells filled, a list of them, and tables whose cells are draws.

    Args:
      model: of a run on a table.
      source: a table with its columns.
      target: the table to write. The others lie beside it, with `_cells` or a number in their name.
      key: of the samples.
      num_samples: importance samples per row.
      num_files: number of tables of draws.

    Returns:
      A line on what was done.

    Raises:
      UserError: the table does not fit the run, has no empty cell, or cannot be written.
    """
    tables.require_suffix(target)
    assert model.columns is not None, "a run on a table has columns"
    cells, columns = foreign_rows.read(model, source), model.columns.plain_columns
    empty = np.isnan(cells.rows)
    # Columns that are conditions have no distribution, and stay as they are.
    empty[:, :, list(model.given_columns)] = False
    with_holes = np.flatnonzero(empty.any(axis=(1, 2, 3)))
    if len(with_holes) == 0:
        given = [columns[index].name for index in model.given_columns]
        but = f" but in {', '.join(given)}, which are conditions" if given else ""
        raise UserError(f"--input={source} has no empty cell to fill{but}")
    holes = cells.rows[with_holes]
    with progress_bar(len(holes), "row", "imputing") as bar:
        found = model.impute(
            holes,
            key,
            num_samples=num_samples,
            num_draws=max(_NUM_DRAWS, num_files),
            on_batch=bar.update,
        )

    def write(path: Path, rows: np.ndarray) -> None:
        whole = cells.rows.copy()
        whole[with_holes] = rows
        tables.write_table(path, tables.fill(cells.table, columns, whole))

    for path, rows in zip(written_files.draws(target, num_files), found.draws, strict=False):
        write(path, np.asarray(rows))
    listed = written_files.listed_cells(target)
    tables.write_table(listed, filled_cells.table(columns, holes, found, with_holes))
    write(target, np.asarray(found.point))
    left = np.isnan(cells.rows).sum() - empty.sum()
    stays = f"; {left:,} empty cells of conditions stay empty" if left else ""
    return (
        f"{target}: {empty.sum():,} empty cells in {len(holes):,} of {len(cells.rows):,} "
        f"rows are filled; {listed} lists them{stays}"
    )
