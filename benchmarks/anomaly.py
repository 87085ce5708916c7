"""How well trained runs tell images of another kind, by every score, beside two baselines.

    python -m benchmarks.anomaly --workdirs=runs/a,runs/b --output=results/uses/anomaly.json

Normal are the test images of the run, anomalous those of the split `outliers` of its data if there
is one, else the test images of Fashion-MNIST for a run on MNIST and the reverse: the first
--num_images of each. The threshold of the false and true positive rates is the one above which 5 %
of the run's held-out images lie. Runs that the output has already are measured anew and the others
kept. With --figures=FOLDER the scores are drawn, a picture a run.
"""

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax.applications.anomaly import measure as anomaly_measuring
from vae_jax.evaluation import results_file

shared.define("workdirs", "plots", output="JSON file to write; empty prints only")

_NUM_IMAGES = flags.DEFINE_integer("num_images", 10_000, "of each kind, at most", lower_bound=1)


def main() -> None:
    """Measure, print a line a run, write the JSON."""
    folders = shared.required_workdirs()
    # A file of something else is told before the first run is measured.
    results_file.rows_of_others(flags.FLAGS.output, "")
    for folder in folders:
        found = anomaly_measuring.measure(folder, _NUM_IMAGES.value, shared.plots_folder())
        print(
            f"{folder}, against {found[0]['outliers']}: AUROC by "
            + ", ".join(f"{row['score']} {row['auroc']['estimate']:.3f}" for row in found)
        )
        # After each run: the whole takes long, and what is measured should not be lost.
        results = {
            **results_file.circumstances("benchmarks.anomaly"),
            "rows": results_file.rows_of_others(flags.FLAGS.output, found[0]["config_digest"])
            + found,
        }
        results_file.write(flags.FLAGS.output, results)


if __name__ == "__main__":
    command_line.run(main)
