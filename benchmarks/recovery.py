"""How well trained runs recover corrupted images, beside what a user would try without a model.

    python -m benchmarks.recovery --workdirs=runs/a,runs/b --output=results/uses/recovery.json

Of each run with a corruption: PSNR and SSIM by level of it, at half the level it was trained at, at
that level, at half as much again and at twice; of downsampling at all factors up to twice. Runs
that differ in their seed alone are measured on the same images, the first `--num_images` of the
test set. The other methods' parameters are chosen for each level on `--num_chosen` images of the
validation set. Pictures go into the folder of the output's name.
"""

from pathlib import Path

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import trained_model
from vae_jax.applications.recovery import measure as recovery_measuring
from vae_jax.evaluation import results_file

shared.define("workdirs", output="JSON file to write; empty prints only")

_NUM_IMAGES = flags.DEFINE_integer("num_images", 1000, "test images", lower_bound=2)
_NUM_CHOSEN = flags.DEFINE_integer("num_chosen", 100, "validation images", lower_bound=1)


def main() -> None:
    """Measure, print a line a row, write the JSON and the pictures."""
    pictures = Path(flags.FLAGS.output).with_suffix("") if flags.FLAGS.output else None
    models = [trained_model.load(folder) for folder in shared.required_workdirs()]
    rows = [
        row
        for group in recovery_measuring.alike(models)
        for row in recovery_measuring.measure(group, _NUM_IMAGES.value, _NUM_CHOSEN.value, pictures)
    ]
    results = {
        **results_file.circumstances("benchmarks.recovery"),
        "num_chosen": _NUM_CHOSEN.value,
        "rows": rows,
    }
    results_file.write(flags.FLAGS.output, results)


if __name__ == "__main__":
    command_line.run(main)
