"""Draw images or rows of a table from a trained run, by a sampler of your choice.

    python -m experiments.sample --workdir=runs/vanilla --sampler=mixture --output=samples.npz
    python -m experiments.sample --workdir=runs/digits --condition=7 --output=sevens.npz
    python -m experiments.sample --workdir=runs/table --num_rows=500 --output=synthetic.csv
    python -m experiments.sample --workdir=runs/given --condition=age:40,sex:f --output=forties.csv

--output is a .npz or .npy file of mean images, `[num, height, width, channels]`, in the units of
the training images: 8-bit pixels are in [0, 1], which a normal likelihood may exceed a little. A
grid of the first hundred, clipped to [0, 1], is written beside it as a PNG or in the formats of
--format. Of a run on a table --output is a .csv or .parquet file of rows, without label and skipped
columns; the others are plotted beside.
"""

from collections.abc import Iterator

import jax
import numpy as np
from absl import flags

from experiments import command_line, condition_text, room
from experiments import flags as shared
from vae_jax import config, plots, trained
from vae_jax.applications.generation import samplers
from vae_jax.data import image_arrays, tables
from vae_jax.errors import UserError
from vae_jax.evaluation import metrics, synthetic_rows
from vae_jax.evaluation.progress import progress_bar

shared.define("format", "workdir", "member", "output", "seed")

_SAMPLER = flags.DEFINE_string(
    "sampler",
    "prior",
    "prior, or mixture (of normals), flow or diffusion, fitted to the training images' latents",
)
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "factor of the noise's standard deviation")
_CONDITION = flags.DEFINE_string(
    "condition", None, "class, index of a test example that has it, age:40,sex:f or numbers 0.5,-1"
)
_NUM_IMAGES = flags.DEFINE_integer("num_images", 100, "number of images to draw")
flags.DEFINE_alias("num_rows", "num_images")

# Images in the grid, and images that are in memory at a time.
_MOST_SHOWN, _PART = 100, 10_000


@shared.in_formats
def main() -> None:
    """Draw --num_images from the run of --workdir."""
    folder, target = shared.existing_workdir(), shared.required_output()
    samplers.require_known(_SAMPLER.value)
    samplers.require_temperature(_TEMPERATURE.value)
    if _NUM_IMAGES.value < 1:
        raise UserError(f"--num_images={_NUM_IMAGES.value} must be at least 1")
    model = trained.load_images(folder, rows=True)
    (image_arrays if model.columns is None else tables).require_suffix(target)
    room.require(model, _NUM_IMAGES.value, target.parent)
    condition = condition_text.read(model, _CONDITION.value, _NUM_IMAGES.value, _SAMPLER.value)
    images_key, fit_key, draw_key, row_key = jax.random.split(config.make_key(flags.FLAGS.seed), 4)
    images = np.empty((0, *model.image_shape), np.float32)
    if _SAMPLER.value != "prior":
        train = model.load_splits().train_examples
        images = metrics.prepare_targets(model.prepare(), train, images_key)
        print(f"fitting a {_SAMPLER.value} to {len(images):,} training images", flush=True)
    if condition is not None and model.has_conditional_prior:
        prior = samplers.tempered(model.prior_given(condition), _TEMPERATURE.value)
        latents = np.asarray(prior.sample(draw_key))
    else:
        prior = samplers.build(_SAMPLER.value, model, images, fit_key)
        latents = samplers.sample_latents(prior, draw_key, _NUM_IMAGES.value, _TEMPERATURE.value)
    if model.columns is not None:
        drawn = synthetic_rows.write(target, model, latents, row_key, condition)
        print(f"{target}: {len(latents):,} rows; {drawn[0]} shows their columns beside the test's")
        return

    def decode(first: int, number: int) -> np.ndarray:
        rows = slice(first, first + number)
        return model.decode(latents[rows], None if condition is None else condition[rows])

    shown = decode(0, _MOST_SHOWN)
    with progress_bar(len(latents), "img", "decoding") as bar:

        def decoded() -> Iterator[np.ndarray]:
            for start in range(0, len(latents), _PART):
                yield (part := decode(start, _PART))
                bar.update(len(part))

        shape = (len(latents), *model.image_shape)
        image_arrays.write_parts(target, decoded(), shape, shown.dtype)
    grid = target.with_suffix(".png")
    files = " and ".join(map(str, plots.save(plots.image_grid(shown), grid)))
    print(f"{target}: {len(latents):,} images; {files} shows {len(shown)}")


if __name__ == "__main__":
    command_line.run(main)
