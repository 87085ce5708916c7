r"""Measure trained runs for a use, such as anomaly detection; plot and write the results.

    python -m experiments.measure --use=recovery --workdirs=runs/a,runs/b \
        --output=results/uses/recovery.json

The uses are folders of vae_jax/applications; `measure.py` there describes what is measured, and the
use's options. --output is written after each run; plots go into the folder beside it of the same
name. Afterwards `python -m experiments.report` writes results/README.md.
With anomaly, few_labels, imputation, multimodal and recovery, --output keeps its other runs, which
curves show too. The results of the other uses replace the file.
"""

import importlib
import inspect
from pathlib import Path
from typing import Any

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax.applications import USES
from vae_jax.errors import UserError
from vae_jax.evaluation import results_file

shared.define("format", "workdirs", output="JSON file to write; empty prints only")

_USE = flags.DEFINE_enum("use", None, list(USES), "required; use to measure")
# By parameter of `measure`; without the flag the use's own default holds.
_OPTIONS = {
    "num_test_examples": flags.DEFINE_integer(
        "num_test_examples", None, "test examples, at most", lower_bound=2
    ),
    "num_chosen": flags.DEFINE_integer(
        "num_chosen", None, "validation images that parameters are chosen on", lower_bound=1
    ),
    "num_labels": flags.DEFINE_list("num_labels", None, "numbers of labels; all for all"),
    "num_draws": flags.DEFINE_integer(
        "num_draws", None, "draws of the labelled images", lower_bound=1
    ),
    "classifier": flags.DEFINE_string(
        "classifier", None, "directory of a classifier by experiments.classifier for the same data"
    ),
    "change": flags.DEFINE_string(
        "change", None, "factor that is edited, such as accessory:none-sunglasses"
    ),
    "classifiers": flags.DEFINE_list(
        "classifiers", None, "directories of classifiers by experiments.classifier --factor=NAME"
    ),
    "temperatures": flags.DEFINE_list("temperatures", None, "temperatures of each sampler"),
}
# Uses where a run's rows do not depend on other runs.
_KEEP_OTHER_RUNS = ("anomaly", "few_labels", "imputation", "multimodal", "recovery")


@shared.in_formats
def main() -> None:
    """Measure the runs of --workdirs for --use."""
    use, folders, output = _USE.value, shared.required_workdirs(), flags.FLAGS.output
    if use is None:
        raise UserError(f"--use is missing; name one of {', '.join(USES)}")
    module = importlib.import_module(f"vae_jax.applications.{use}.measure")
    options: dict[str, Any] = {
        name: flag.value for name, flag in _OPTIONS.items() if flag.value is not None
    }
    parameters = inspect.signature(module.measure).parameters.keys()
    for name in options.keys() - parameters:
        raise UserError(f"--{name} has no effect with --use={use}; drop it")
    keeps = output and use in _KEEP_OTHER_RUNS
    plots_folder = Path(output).with_suffix("") if output else None
    # Read first: another kind of file is refused before the first run is measured.
    given = {"plots_folder": plots_folder, "kept": results_file.rows(output) if keeps else []}
    options |= {name: given[name] for name in given.keys() & parameters}
    names = shared.digests_of(folders)
    circumstances = results_file.circumstances(f"experiments.measure --use={use}")
    rows: list[results_file.Row] = []
    for results in module.measure(folders, **options):
        rows = results["rows"]
        if keeps:
            # Read again: another call may have added its runs.
            rows = results_file.replaced(results_file.rows(output), rows, names)
        results_file.write(output, {**circumstances, **results, "rows": rows})
    if plots_folder is not None and hasattr(module, "draw"):
        module.draw(rows, plots_folder)


if __name__ == "__main__":
    command_line.run(main)
