"""Measure a trained run on its test set and draw its plots, as `train` does at its end.

python -m experiments.evaluate --workdir=runs/vanilla
python -m experiments.evaluate --workdir=runs/vanilla --num_samples=5000
python -m experiments.evaluate --workdir=runs/vanilla --num_samples=50 --output=quick.json
"""

import contextlib
from pathlib import Path

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import config as factory
from vae_jax import trained, workdir
from vae_jax.config.experiment import MAX_SAMPLES
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.settings import settings_of

shared.define(
    "format",
    "workdir",
    "member",
    "accept_data",
    output="JSON file to write; by default the run's summary.json is written, and its plots",
    num_samples="importance samples per image, in place of config.evaluation.num_samples",
)


@shared.in_formats
def main() -> None:
    """Evaluate the run of --workdir."""
    folder = shared.existing_workdir()
    config = trained.read_experiment(folder)
    num_samples = config.evaluation.num_samples
    given = flags.FLAGS.num_samples
    if given is not None and "num_samples" in settings_of(type(config.evaluation)):
        num_samples = given
    if not 1 <= num_samples <= MAX_SAMPLES:
        raise UserError(f"--num_samples={num_samples} must be at least 1 and at most {MAX_SAMPLES}")
    output = Path(flags.FLAGS.output) if flags.FLAGS.output else None
    if output is None:
        _refuse_fewer(folder, num_samples)
    # A run that is only read may lie where nothing can be written.
    with workdir.hold(folder) if output is None else contextlib.nullcontext():
        test = factory.load_test_examples(config)
        summary = measuring.evaluate_run(
            folder, test, num_samples, output, accept_data=flags.FLAGS.accept_data
        )
    print(f"{folder}: {measuring.describe(summary)}")


def _refuse_fewer(folder: Path, num_samples: int) -> None:
    summary = workdir.read_summary(folder)
    there = 0 if summary is None else summary["test"].get("num_samples", 0)
    if num_samples < there:
        raise UserError(
            f"--num_samples={num_samples} would replace a bound by {there} samples in "
            f"{folder / 'summary.json'}; use at least {there}, or name another file by --output"
        )


if __name__ == "__main__":
    command_line.run(main)
