r"""Give images more of an attribute, or less, by a trained run.

    python -m experiments.edit --workdir=runs/vanilla --attribute=thickness --degree=1.5 \
        --input=digits.npy --output=thicker.npy

--attribute is thickness, slant or size, as measured by vae_jax/data/captions/morphology.py, or, for
data with classes, 7 to make it a 7 or 4-9 to make a 9 of a 4, or, for data with known factors,
accessory:sunglasses or accessory:none-sunglasses. Degree 1 is the distance from the
quarter of the training images with the least of the attribute to the quarter with the most, where
classes and the other attributes are balanced, or from one class or all others to the named one.
Degree 0 only reconstructs; a negative degree removes the attribute. --method=conditional moves each
image by an amount of its own.

--input is a .npy file, or an .npz file with `images`; the default is the run's own test images. The
edited images have 8 bits if the input has, else floating-point numbers.
"""

import numpy as np
from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import trained
from vae_jax.applications.editing import directions
from vae_jax.applications.editing.attribute_vectors import CONDITIONAL, METHODS, shift
from vae_jax.data import image_arrays
from vae_jax.errors import UserError
from vae_jax.evaluation import foreign_images

shared.define("workdir", "member", "output", input="images to edit; by default the test set")

_ATTRIBUTE = flags.DEFINE_string(
    "attribute", None, "required; such as thickness, 4-9 or accessory:sunglasses"
)
_DEGREE = flags.DEFINE_float("degree", 1.0, "amount of the change, any finite number")
_METHOD = flags.DEFINE_enum(
    "method", "mean_difference", [*METHODS, CONDITIONAL], "how the change is computed"
)


def _mean(images: np.ndarray, attribute: str) -> str:
    values = getattr(directions.measure_stored(images), attribute)
    measured = values[np.isfinite(values)]
    return f"{measured.mean():.3g}" if len(measured) else "not measurable"


def main() -> None:
    """Edit --input by the run of --workdir into --output."""
    folder = shared.existing_workdir()
    if _ATTRIBUTE.value is None:
        raise UserError("--attribute is missing; name one such as thickness")
    attribute, degree = directions.parse(_ATTRIBUTE.value), _DEGREE.value
    if not abs(degree) <= shared.MOST_DEGREES:
        raise UserError(
            f"--degree={degree} must be finite and at most {shared.MOST_DEGREES:g} in size"
        )
    if _METHOD.value == CONDITIONAL and isinstance(attribute, str):
        raise UserError(
            f"--method={CONDITIONAL} is of classes and factors, and --attribute={attribute} is "
            f"measured; use {' or '.join(METHODS)}"
        )
    source, target = shared.input_path(), shared.required_output()
    image_arrays.require_suffix(target)
    given = None if source is None else image_arrays.read(source)
    model = trained.load_images(folder)
    opened = model.open_splits()
    if given is None:
        given = opened.test.images
    images = image_arrays.with_channels(given, model.image_shape)
    images = foreign_images.as_stored(model, images, opened.test.dtype)
    contrast = directions.contrast(directions.load_known(model, opened.train), attribute)
    latents = model.latents(images)
    # Images that lose the attribute are of the group that has it.
    towards = contrast if degree >= 0 else contrast.reversed()
    change = shift(_METHOD.value, towards, latents)
    reconstructed, edited = directions.edits(model, latents, change, np.array([0.0, abs(degree)]))
    written = edited
    if given.dtype == np.uint8:
        written = np.round(255 * np.clip(edited, 0, 1)).astype(np.uint8)
    image_arrays.write(target, written.reshape(given.shape))
    message = f"{target}: {len(given):,} images, {written.dtype}"
    if isinstance(attribute, str):
        message += (
            f"; mean {attribute} {_mean(reconstructed, attribute)} as reconstructed, "
            f"{_mean(edited, attribute)} edited"
        )
    print(message)


if __name__ == "__main__":
    command_line.run(main)
