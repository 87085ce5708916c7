"""Measure a trained run on its test set and draw its plots, as `train` does at its end.

python -m experiments.evaluate --workdir=runs/vanilla
python -m experiments.evaluate --workdir=runs/vanilla --num_samples=5000
"""

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import config as factory
from vae_jax import trained, workdir
from vae_jax.config.experiment import MAX_SAMPLES
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.settings import settings_of

shared.define("workdir", "member")

_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "importance samples per image, in place of config.evaluation.num_samples"
)


def main() -> None:
    """Evaluate the run of --workdir."""
    folder = shared.existing_workdir()
    config = trained.read_experiment(folder)
    num_samples = config.evaluation.num_samples
    if _NUM_SAMPLES.value is not None and "num_samples" in settings_of(type(config.evaluation)):
        num_samples = _NUM_SAMPLES.value
    if not 1 <= num_samples <= MAX_SAMPLES:
        raise UserError(f"--num_samples={num_samples} must be at least 1 and at most {MAX_SAMPLES}")
    with workdir.hold(folder):
        test = factory.load_test_examples(config)
        print(f"{folder}: {measuring.describe(measuring.evaluate_run(folder, test, num_samples))}")


if __name__ == "__main__":
    command_line.run(main)
