"""Score the images or rows of a file by a trained run, and flag those unlike its training ones.

    python -m experiments.detect --workdir=runs/anomaly --input=new.npy --output=scores.csv

--input is a .npy file, or an .npz file with `images`; of a run on a table, a .csv or .parquet file,
or an .npz file with `rows`. --output gets a line per image with its `index` in the file, counted
from 0, or per row with its number, `row`, counted from 1 below the header; then its score, higher
for the more anomalous, and 1 where the score is above a threshold, else 0. A share
--false_positive_rate of the run's validation examples exceeds the threshold, or of its training
examples if it has no validation split.
"""

import csv
import io

import numpy as np
from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import trained, workdir
from vae_jax.applications.anomaly import SCORES, Scorer, threshold
from vae_jax.applications.anomaly import data as anomaly_data
from vae_jax.data import image_arrays
from vae_jax.errors import UserError
from vae_jax.evaluation import foreign_images, foreign_rows

shared.define("workdir", "member", "output", input="required; images or rows to score")

_SCORE = flags.DEFINE_enum("score", "elbo", list(SCORES), "the score")
_RATE = flags.DEFINE_float("false_positive_rate", 0.05, "share of normal images to be flagged")


def _table(scores: np.ndarray, flagged: np.ndarray, *, of_rows: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    # Rows are counted as in the list of filled cells and in errors.
    writer.writerow(["row" if of_rows else "index", "score", "flagged"])
    for index, (score, is_flagged) in enumerate(zip(scores, flagged, strict=True), int(of_rows)):
        writer.writerow([index, f"{score:.6g}", int(is_flagged)])
    return text.getvalue()


def main() -> None:
    """Score --input by the run of --workdir into --output."""
    folder, name, rate = shared.existing_workdir(), _SCORE.value, _RATE.value
    if not 0 < rate < 1:
        raise UserError(f"--false_positive_rate={rate} must lie between 0 and 1, such as 0.05")
    source = shared.required_input("a .npy or .npz file of images, or a table")
    target = shared.required_output()
    if target.suffix != ".csv":
        raise UserError(f"--output={target} must end in .csv")
    model = trained.load_images(folder, rows=True)
    what = "images" if model.columns is None else "rows"
    stored = None if model.columns is None else foreign_rows.read(model, source).rows
    # Read before the data of the run: a wrong file is refused at once.
    if stored is None:
        images = image_arrays.with_channels(image_arrays.read(source), model.image_shape)
    normal = anomaly_data.load_normal(model)
    if stored is None:
        stored = foreign_images.as_stored(model, images, normal.test.dtype)
    seen_keys, sample_keys = anomaly_data.build_keys(model)
    scorer = Scorer(
        model, normal.training, sample_keys.training, num_samples=model.evaluation.num_samples
    )
    known = scorer([name], normal.held_out, sample_keys.held_out)[name]
    seen = anomaly_data.as_seen(model, stored, seen_keys.others)
    scores = scorer([name], seen, sample_keys.others)[name]
    limit = threshold(known, rate)
    of_rows = model.columns is not None
    workdir.write_atomically(target, _table(scores, scores > limit, of_rows=of_rows))
    has_validation = bool(model.data.validation_split)
    print(
        f"{target}: {len(scores):,} {what}, {np.count_nonzero(scores > limit):,} of them with a "
        f"{SCORES[name]} above {limit:.6g}, as {np.mean(known > limit):.1%} of the {len(known):,} "
        f"{'validation' if has_validation else 'training'} {what}, {normal.held_out_split!r}"
        + ("" if has_validation else "; the run has no validation split")
    )


if __name__ == "__main__":
    command_line.run(main)
