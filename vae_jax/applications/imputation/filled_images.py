"""Fill the missing pixels of a user's images by a trained run."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Key

from vae_jax.applications.imputation import kept_draws, written_files
from vae_jax.data import image_arrays
from vae_jax.errors import UserError
from vae_jax.evaluation import foreign_images, metrics
from vae_jax.evaluation.progress import progress_bar
from vae_jax.trained import TrainedModel


def fill_file(
    model: TrainedModel,
    source: Path,
    target: Path,
    key: Key[Array, ""],
    *,
    num_samples: int,
    num_files: int,
) -> str:
    """Write images with their missing pixels filled, and files whose pixels are draws.

    A pixel gets its expected value; what was seen stays. A model that sees binarised images gets
    one draw of what was seen.

    Args:
      model: of a run with `model.missing_pixels`.
      source: a .npy file, or an .npz file with `images`, NaN where a pixel was not seen.
      target: the file to write. The others lie beside it, with a number in their name.
      key: of the samples.
      num_samples: importance samples per image.
      num_files: number of files of draws.

    Returns:
      A line on what was done.

    Raises:
      UserError: the images do not fit the run, no pixel is missing, there are too many draws, or a
        file cannot be written.
    """
    image_arrays.require_suffix(target)
    arrays = image_arrays.with_channels(image_arrays.read(source), model.image_shape)
    images = foreign_images.as_stored(model, arrays, np.dtype(np.float32))
    missing = np.zeros(0, bool) if images.dtype == np.uint8 else np.isnan(images)
    if not missing.any():
        raise UserError(
            f"--input={source} has no missing pixel to fill; in images of floats, NaN is a pixel "
            "that was not seen"
        )
    kept_draws.refuse_too_many(num_files, images.nbytes, f"{len(images):,} images")
    prepare_key, samples_key = jax.random.split(key)
    targets = metrics.prepare_targets(model.prepare(), images, prepare_key)
    with progress_bar(len(images), "img", "imputing") as bar:
        found = model.impute(
            targets,
            samples_key,
            num_samples=num_samples,
            num_draws=max(1, num_files),
            on_batch=bar.update,
        )
    for path, draw in zip(written_files.draws(target, num_files), found.draws, strict=False):
        image_arrays.write(path, np.where(missing, draw, images))
    image_arrays.write(target, np.where(missing, found.point, images))
    num_with_holes = np.count_nonzero(missing.any(axis=(1, 2, 3)))
    return (
        f"{target}: {np.count_nonzero(missing):,} missing pixels in {num_with_holes:,} of "
        f"{len(images):,} images are filled"
    )
