r"""What adding an attribute to the latents of test images does to the images.

    python -m benchmarks.latent_arithmetic --workdirs=runs/a,runs/b \
        --output=results/uses/latent_arithmetic.json --figures=results/uses/latent_arithmetic

Runs are of one config with several seeds. Thickness, slant and size of the decoded images against
the degree, for directions by the difference of means and by a linear classifier, each with the
classes and the other attributes equal in both groups of training images, and not; whether the class
stays, as 5 neighbours among 5,000 training images tell it by their pixels; and how often a
digit that is to become another one does.
"""

from typing import Any

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax.applications.editing import measure as latent_arithmetic_measuring
from vae_jax.applications.editing import published_plots
from vae_jax.evaluation import results_file

shared.define("workdirs", "plots", output="JSON file to write; empty prints only")

_NUM_IMAGES = flags.DEFINE_integer("num_images", 1000, "test images edited", lower_bound=1)


def _line(row: dict[str, Any]) -> str:
    degrees = row["degrees"]
    zero, one = degrees.index(0), degrees.index(1)
    text = f"{row['attribute']}, {row['method']}{'' if row['balanced'] else ', not balanced'}: "
    text += ", ".join(
        f"{name} {values[one] - values[zero]:+.3f}" for name, values in row["measured"].items()
    )
    if "class_reached" in row:
        return f"{text}; made that class: {row['class_reached'][one]:.1%}"
    return f"{text}; correlation {row['correlation']:.3f}, class kept {row['class_kept'][one]:.1%}"


def main() -> None:
    """Measure, print a line a direction, write the JSON and the pictures."""
    folders = shared.required_workdirs()
    pictures = shared.plots_folder()
    rows = []
    for i, folder in enumerate(folders):
        # Edited images are those of the first run.
        found = latent_arithmetic_measuring.measure(
            folder, _NUM_IMAGES.value, None if i else pictures
        )
        rows += found
        print("\n".join([f"{folder}:", *map(_line, found)]), flush=True)
    results = {
        **results_file.circumstances("benchmarks.latent_arithmetic"),
        "rows": rows,
    }
    results_file.write(flags.FLAGS.output, results)
    if pictures is not None:
        published_plots.draw_curves(rows, pictures)


if __name__ == "__main__":
    command_line.run(main)
