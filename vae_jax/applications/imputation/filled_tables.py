"""Fill the empty cells of a user's table by a trained run."""

from pathlib import Path

import numpy as np
from jaxtyping import Array, Bool, Float, Key

from vae_jax.applications.imputation import filled_cells, kept_draws, written_files
from vae_jax.applications.imputation.filled_cells import FilledCells
from vae_jax.data import csv_style, tables
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

    The texts of the cells that are there stay in a CSV file that is written as one; quotes around
    them need not.

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
      UserError: the table does not fit the run, has no empty cell, there are too many draws, or a
        file cannot be written.
    """
    tables.require_suffix(target)
    assert model.columns is not None, "a run on a table has columns"
    cells, columns = foreign_rows.read(model, source), model.columns.plain_columns
    # Conditions and exposures have no distribution, and stay as they are.
    exposures = {i for i, column in enumerate(columns) if column.kind == "exposure"}
    given, whose = sorted({*model.given_columns, *exposures}), []
    whose += ["conditions"] if model.given_columns else []
    whose += ["exposures"] if exposures else []
    empty = np.isnan(cells.rows)
    empty[:, :, given] = False
    with_holes = np.flatnonzero(empty.any(axis=(1, 2, 3)))
    if len(with_holes) == 0:
        names = ", ".join(columns[index].name for index in given)
        but = f" but in {names}, which are {' or '.join(whose)}" if given else ""
        raise UserError(f"--input={source} has no empty cell to fill{but}")
    num_empty = int(np.count_nonzero(empty))
    kept_draws.refuse_too_many(num_files, 4 * num_empty, f"{num_empty:,} empty cells")
    filled = _impute(model, cells.rows, empty, key, num_samples, num_files)
    table = tables.original(cells, source, target)
    style = csv_style.style_of(cells.table) if source.suffix == ".csv" else model.columns.csv_style

    def write(path: Path, values: Float[np.ndarray, " cells"]) -> None:
        rows = cells.rows.copy()
        rows[filled.rows, 0, filled.columns, 0] = values
        tables.write_table(path, tables.fill(table, columns, empty, rows, style), style)

    for path, draw in zip(written_files.draws(target, num_files), filled.draws, strict=True):
        write(path, draw)
    listed = written_files.listed_cells(target)
    tables.write_table(listed, filled_cells.table(columns, filled, style), style)
    write(target, filled.values)
    left = np.count_nonzero(np.isnan(cells.rows)) - num_empty
    stays = f"; {left:,} empty cells of {' and '.join(whose)} stay empty" if left else ""
    return (
        f"{target}: {num_empty:,} empty cells in {len(with_holes):,} of {len(cells.rows):,} "
        f"rows are filled; {listed} lists them{stays}"
    )


def _impute(
    model: TrainedModel,
    rows: Float[np.ndarray, "num 1 columns 1"],
    empty: Bool[np.ndarray, "num 1 columns 1"],
    key: Key[Array, ""],
    num_samples: int,
    num_files: int,
) -> FilledCells:
    """Return the cells that are imputed, some rows at a time: all draws of a large table are many.

    Only what is written stays in memory.
    """
    assert model.columns is not None, "a run on a table has columns"
    columns, chosen = model.columns.plain_columns, np.flatnonzero(empty.any(axis=(1, 2, 3)))
    parts, first = [], 0
    with progress_bar(len(chosen), "row", "imputing") as bar:
        for found in model.impute_in_blocks(
            rows[chosen], key, num_samples=num_samples, num_draws=max(_NUM_DRAWS, num_files)
        ):
            own = chosen[first : first + len(found.point)]
            parts.append(filled_cells.collect(columns, empty[own], found, own, num_files))
            first += len(own)
            bar.update(len(own))
    return filled_cells.joined(parts)
