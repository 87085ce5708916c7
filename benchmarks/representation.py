r"""What the codes of trained runs tell of the classes, beside PCA of the same size and raw pixels.

    python -m benchmarks.representation --workdirs=runs/a,runs/b \
        --output=results/uses/representation.json

Accuracy on the test images of a linear probe and of 5 neighbours
(vae_jax/applications/representation/probing.py) that know 100, 600, 1,000 or all labels of the
training images. Codes are posterior means of the
images as the model sees them; PCA is of the same images, all of the training set, and so are the
pixels. A run's seed also draws the labels, 10 times, for all codes the same; PCA and pixels are
measured once for each seed, PCA for each size. With --output a picture is drawn beside the file.
"""

from pathlib import Path
from typing import Any

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import plots
from vae_jax.applications.representation import measure as representation_measuring
from vae_jax.applications.representation import report as representation_report
from vae_jax.evaluation import results_file

shared.define("workdirs", output="JSON file to write; empty prints only")

_NUM_LABELS = flags.DEFINE_list("num_labels", ["100", "600", "1000", "all"], "numbers of labels")
_NUM_DRAWS = flags.DEFINE_integer("num_draws", 10, "draws of the labelled images", lower_bound=1)


def main() -> None:
    """Measure, print a line a row, write the JSON and draw the picture."""
    folders = shared.required_workdirs()
    rows: list[dict[str, Any]] = []
    known: set[tuple[Any, ...]] = set()
    for folder in folders:
        for row in representation_measuring.measure_run(
            folder, known, num_labels=_NUM_LABELS.value, num_draws=_NUM_DRAWS.value
        ):
            rows.append(row)
            print(
                f"{row['representation']}, {row['size']} numbers, seed {row['seed']}: linear "
                + ", ".join(f"{share:.2%}" for share in row["linear"])
                + "; neighbours "
                + ", ".join(f"{share:.2%}" for share in row["neighbours"]),
                flush=True,
            )
    results = {
        **results_file.circumstances("benchmarks.representation"),
        "num_draws": _NUM_DRAWS.value,
        "rows": rows,
    }
    results_file.write(flags.FLAGS.output, results)
    if flags.FLAGS.output:
        figure = plots.accuracy_by_labels(
            representation_report.panels(rows), representation_report.BASELINES
        )
        plots.save(figure, Path(flags.FLAGS.output).with_suffix(".png"))


if __name__ == "__main__":
    command_line.run(main)
