"""A user's own images, in the form of those that a run was trained on."""

import numpy as np

from vae_jax.errors import UserError
from vae_jax.trained import TrainedModel


def as_stored(model: TrainedModel, images: np.ndarray, like: np.dtype) -> np.ndarray:
    """Return images of another source in the form of those that the run was trained on.

    False and True become 0 and 255, floating numbers float32.

    Args:
      model: of the run.
      images: `[num, height, width, channels]`.
      like: the type of the run's stored images.

    Raises:
      UserError: another type, values that are not finite or that the model does not take.
    """
    if images.dtype == np.bool_:
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype == np.uint8:
        if images.max() == 1:
            raise UserError(
                "the images are uint8 and hold no value above 1, of 255; write black and white as "
                "bool, or as 0 and 255"
            )
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"the images are {images.dtype}; use uint8, bool, or floats as trained on")
    # A float64 too large for float32 becomes infinite here and is refused below.
    with np.errstate(over="ignore"):
        images = images.astype(np.float32)
    fine = np.isfinite(images) | (np.isnan(images) & model.may_miss_pixels)
    bad = np.flatnonzero(~fine.all(axis=(1, 2, 3)))
    if len(bad):
        kind = "infinite" if model.may_miss_pixels else "NaN or infinite"
        raise UserError(
            f"{len(bad)} of {len(images)} images hold {kind} values, first image {bad[0]}"
        )
    problem = model.refused_values(images)
    low, high = np.nanmin(images), np.nanmax(images)
    if problem is None and like == np.uint8 and not 0 <= low <= high <= 1:
        problem = f"lie in [{low:g}, {high:g}], outside [0, 1]"
    if problem is not None:
        raise UserError(f"the images {problem}, unlike those of data.name={model.data.name!r}")
    return images
