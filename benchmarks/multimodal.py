r"""What trained runs of several modalities make of one modality from others.

    python -m benchmarks.multimodal --workdirs=runs/captions --classifier=runs/classifier_mnist \
        --output=results/uses/multimodal.json --figures=results/uses/multimodal

Coherence, conditional by the number of modalities given and joint; of runs with images and
captions how far the two agree, by class, attribute and word; a linear probe of the latents; the log
likelihoods of the run's summary. `--classifier` is a folder with a classifier of the images
(`experiments.classifier`), or one where those of several modalities are, each in a folder of its
name: what is missing there is trained. Runs that the output has already are measured anew and the
others kept. Pictures of each run go into a folder of the name of its workdir.
"""

from pathlib import Path

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax.applications.multimodal import drawing
from vae_jax.applications.multimodal import measure as multimodal_measuring
from vae_jax.applications.multimodal import report as multimodal_report
from vae_jax.errors import UserError
from vae_jax.evaluation import results_file

shared.define("workdirs", "plots", output="JSON file to write; empty prints only")

_CLASSIFIER = flags.DEFINE_string("classifier", "", "directory of a classifier, or of several")
_NUM_EXAMPLES = flags.DEFINE_integer("num_test_examples", 10_000, "at most", lower_bound=1)


def main() -> None:
    """Measure, print a line a run, write the JSON and draw the pictures."""
    folders, figures = shared.required_workdirs(), shared.plots_folder()
    if not _CLASSIFIER.value:
        raise UserError("--classifier is missing; name the directory of a classifier")
    # One that is no run of several modalities is told before the others are measured.
    models = [multimodal_measuring.load_model(folder) for folder in folders]
    # A file of something else is told before the first run is measured.
    results_file.rows_of_others(flags.FLAGS.output, "")
    for folder, model in zip(folders, models, strict=True):
        examples = multimodal_measuring.load_examples(
            model, Path(_CLASSIFIER.value), _NUM_EXAMPLES.value
        )
        row = multimodal_measuring.measure_run(folder, model, examples)
        print(multimodal_report.line(row), flush=True)
        if figures is not None:
            drawing.draw_run(model, examples, figures / folder.name)
        # After each run: a later one that fails should not cost what is measured.
        results = {
            **results_file.circumstances("benchmarks.multimodal"),
            "rows": [*results_file.rows_of_others(flags.FLAGS.output, row["config_digest"]), row],
        }
        results_file.write(flags.FLAGS.output, results)


if __name__ == "__main__":
    command_line.run(main)
