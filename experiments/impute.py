r"""Fill the empty cells of a table by a trained run.

    python -m experiments.impute --workdir=runs/table --input=holes.csv --output=filled.csv
    python -m experiments.impute --workdir=runs/table --input=holes.csv --output=filled.csv \
        --multiple=20

--input has the columns of the run's table, in any order; what it holds stays as it is. An empty
number gets its expected value, a category the likeliest one. Beside --output, a file with
`_cells` in its name has a line per filled cell: its row, counted from 1, its column and value, the
interval that holds the unknown number with a probability of 90 %, or the probability of the
category. With --multiple there are also as many files `_1`, `_2` ... whose cells are draws, for
multiple imputation.
"""

from pathlib import Path

import numpy as np
from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import config, trained
from vae_jax.applications.imputation import filled_cells
from vae_jax.data import tables
from vae_jax.errors import UserError
from vae_jax.evaluation import foreign_rows
from vae_jax.evaluation.progress import progress_bar

shared.define(
    "workdir",
    "member",
    "output",
    "seed",
    input="required; table with empty cells",
    num_samples="importance samples per row; by default 10,000",
)

_MULTIPLE = flags.DEFINE_integer("multiple", 0, "further files, whose cells are draws")

_MOST_FILES = 1000
_NUM_SAMPLES, _MOST_SAMPLES = 10_000, 10**6
# Draws by which intervals are measured.
_NUM_DRAWS = 200


def main() -> None:
    """Fill --input by the run of --workdir into --output."""
    folder, source = shared.existing_workdir(), shared.required_input("a table with empty cells")
    target = shared.required_output()
    tables.require_suffix(target)
    num_files, num_samples = _MULTIPLE.value, flags.FLAGS.num_samples
    if not 0 <= num_files <= _MOST_FILES:
        raise UserError(f"--multiple={num_files} must be from 0 to {_MOST_FILES}")
    num_samples = _NUM_SAMPLES if num_samples is None else num_samples
    if not 1 <= num_samples <= _MOST_SAMPLES:
        raise UserError(f"--num_samples={num_samples} must be from 1 to {_MOST_SAMPLES}")
    model = trained.load_images(folder, rows=True)
    if model.columns is None:
        raise UserError(f"workdir={str(folder)!r} holds a run on images; name one on a table")
    cells = foreign_rows.read(model, source)
    columns = model.columns.plain_columns
    with_holes = np.flatnonzero(np.isnan(cells.rows).any(axis=(1, 2, 3)))
    if len(with_holes) == 0:
        raise UserError(f"--input={source} has no empty cell to fill")
    key = config.make_key(flags.FLAGS.seed)
    num_draws = max(_NUM_DRAWS, num_files)
    with progress_bar(len(with_holes), "row", "imputing") as bar:
        found = model.impute(
            cells.rows[with_holes],
            key,
            num_samples=num_samples,
            num_draws=num_draws,
            on_batch=bar.update,
        )
    holes = cells.rows[with_holes]

    def write(path: Path, rows: np.ndarray) -> None:
        whole = cells.rows.copy()
        whole[with_holes] = rows
        tables.write_table(path, tables.fill(cells.table, columns, whole))

    for index in range(num_files):
        write(target.with_stem(f"{target.stem}_{index + 1}"), np.asarray(found.draws[index]))
    listed = target.with_stem(f"{target.stem}_cells")
    tables.write_table(listed, filled_cells.table(columns, holes, found, with_holes))
    write(target, np.asarray(found.point))
    files = f", and {num_files} files of draws" if num_files else ""
    print(
        f"{target}: {np.isnan(holes).sum():,} empty cells in {len(holes):,} of {len(cells.rows):,} "
        f"rows are filled; {listed} lists them{files}"
    )


if __name__ == "__main__":
    command_line.run(main)
