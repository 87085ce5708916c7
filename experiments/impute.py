r"""Fill the empty cells of a table, or the missing pixels of images, by a trained run.

    python -m experiments.impute --workdir=runs/table --input=holes.csv --output=filled.csv
    python -m experiments.impute --workdir=runs/table --input=holes.csv --output=filled.csv \
        --multiple=20
    python -m experiments.impute --workdir=runs/holes --input=torn.npz --output=whole.npz

--input has the columns of the run's table, in any order; what it holds stays as it is. An empty
number gets its expected value, a category the likeliest one. Beside --output, a file with
`_cells` in its name has a line per filled cell: its row, counted from 1, its column and value, the
interval that holds the unknown number with a probability of 90 %, or the probability of the
category. With --multiple there are also as many files `_1`, `_2` ... whose cells are draws, for
multiple imputation. Of a run with model.missing_pixels=True, --input and --output are .npy files,
or .npz files with `images`; NaN is a pixel that was not seen.
"""

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import config, trained
from vae_jax.applications.imputation import filled_images, filled_tables, written_files
from vae_jax.errors import UserError

shared.define(
    "workdir",
    "member",
    "output",
    "seed",
    input="required; table with empty cells, or images with missing pixels",
    num_samples="importance samples per row or image; by default 10,000",
)

_MULTIPLE = flags.DEFINE_integer("multiple", 0, "further files, whose cells or pixels are draws")

_MOST_FILES = 1000
_NUM_SAMPLES, _MOST_SAMPLES = 10_000, 10**6


def main() -> None:
    """Fill --input by the run of --workdir into --output."""
    folder = shared.existing_workdir()
    source = shared.required_input("a table with empty cells, or images with missing pixels")
    target = shared.required_output()
    num_files, num_samples = _MULTIPLE.value, flags.FLAGS.num_samples
    if not 0 <= num_files <= _MOST_FILES:
        raise UserError(f"--multiple={num_files} must be from 0 to {_MOST_FILES}")
    beside = [written_files.listed_cells(target), *written_files.draws(target, num_files)]
    shared.refuse_overwriting_input(beside)
    num_samples = _NUM_SAMPLES if num_samples is None else num_samples
    if not 1 <= num_samples <= _MOST_SAMPLES:
        raise UserError(f"--num_samples={num_samples} must be from 1 to {_MOST_SAMPLES}")
    model = trained.load_images(folder, rows=True)
    if model.columns is None and not model.may_miss_pixels:
        raise UserError(
            f"workdir={str(folder)!r} holds a run on whole images; name one on a table, or one "
            "with model.missing_pixels=True"
        )
    subject = filled_images if model.columns is None else filled_tables
    key = config.make_key(flags.FLAGS.seed)
    done = subject.fill_file(
        model, source, target, key, num_samples=num_samples, num_files=num_files
    )
    print(f"{done}{f', and {num_files} files of draws' if num_files else ''}")


if __name__ == "__main__":
    command_line.run(main)
