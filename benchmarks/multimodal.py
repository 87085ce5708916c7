r"""What trained runs of several modalities make of one modality from others.

    python -m benchmarks.multimodal --workdirs=runs/captions --classifier=runs/classifier_mnist \
        --output=results/uses/multimodal.json --figures=results/uses/multimodal

Coherence, conditional by the number of modalities given and joint; of runs with images and
captions how far the two agree, by class, attribute and word; a linear probe of the latents; the log
likelihoods of the run's summary. `--classifier` is a folder with a classifier of the images
(`experiments.classifier`), or one where those of several modalities are, each in a folder of its
name: what is missing there is trained. Pictures of each run go into a folder of the name of its
workdir.
"""

import os
from pathlib import Path

import jax
from absl import flags

from benchmarks import results_file
from experiments import command_line, multimodal_drawing, multimodal_measuring, multimodal_report
from vae_jax.errors import UserError

_WORKDIRS = flags.DEFINE_list("workdirs", [], "directories of trained runs")
_CLASSIFIER = flags.DEFINE_string("classifier", "", "directory of a classifier, or of several")
_NUM_EXAMPLES = flags.DEFINE_integer("num_examples", 10_000, "test examples", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_FIGURES = flags.DEFINE_string("figures", "", "folder of the pictures; empty draws none")


def main() -> None:
    """Measure, print a line a run, write the JSON and draw the pictures."""
    if not _WORKDIRS.value:
        raise UserError("--workdirs is missing; name the directories of trained runs")
    if not _CLASSIFIER.value:
        raise UserError("--classifier is missing; name the directory of a classifier")
    command_line.use_compilation_cache()
    # One that is no run of several modalities is told before the others are measured.
    models = [multimodal_measuring.load_model(Path(folder)) for folder in _WORKDIRS.value]
    rows = []
    for folder, model in zip(map(Path, _WORKDIRS.value), models, strict=True):
        examples = multimodal_measuring.load_examples(
            model, Path(_CLASSIFIER.value), _NUM_EXAMPLES.value
        )
        row = multimodal_measuring.measure_run(folder, model, examples)
        rows.append(row)
        print(multimodal_report.line(row), flush=True)
        if _FIGURES.value:
            out = Path(_FIGURES.value) / folder.name
            multimodal_drawing.draw_run(model, examples, out)
    results = {
        "command": "python -m benchmarks.multimodal",
        "device": jax.devices()[0].device_kind,
        "num_cores": os.cpu_count(),
        "jax": jax.__version__,
        "rows": rows,
    }
    results_file.write(_OUTPUT.value, results)


if __name__ == "__main__":
    command_line.run(main)
