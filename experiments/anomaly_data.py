"""The images that anomaly detection is about, as a run's model sees them."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from vae_jax import factory
from vae_jax.data import Dataset, LazyDataset
from vae_jax.data.pixels import binarize, to_unit_interval
from vae_jax.errors import UserError
from vae_jax.evaluation import figures_of_merit

# Of the training images, so many tell what is normal.
_MOST_TRAINING_IMAGES = 10_000

Images = Float[np.ndarray, "_images height width channels"]


class NormalImages(NamedTuple):
    """Images of the kind that a run was trained on.

    Attributes:
      training: some of those it was trained on, evenly spaced.
      held_out: of the validation split; where there is none, the same as `training`.
      held_out_split: the split that those are of.
      test: the test set as stored.
    """

    training: Images
    held_out: Images
    held_out_split: str
    test: Dataset


class Keys(NamedTuple):
    """One key for each set of images, of its draws and of the samples for it."""

    training: Key[Array, ""]
    held_out: Key[Array, ""]
    test: Key[Array, ""]
    others: Key[Array, ""]


def build_keys(config: ConfigDict) -> tuple[Keys, Keys]:
    """The keys that `evaluation.seed` gives: of how images are seen, and of the samples."""
    keys = factory.build_evaluation_keys(config)
    num = len(Keys._fields)
    return Keys(*jax.random.split(keys.targets, num)), Keys(*jax.random.split(keys.samples, num))


def as_seen(config: ConfigDict, images: np.ndarray, key: Key[Array, ""]) -> Images:
    """Stored images as the model sees them: binarised, one draw each, if it was trained so."""
    if config.data.binarization == "none":
        return np.asarray(to_unit_interval(jax.numpy.asarray(images)))
    return figures_of_merit.prepare_targets(binarize, images, key)


def load_normal(config: ConfigDict) -> NormalImages:
    """Read what the run's data tell of normal images.

    Raises:
      UserError: as `factory.open_splits`.
    """
    opened, (seen, _) = factory.open_splits(config), build_keys(config)
    train: LazyDataset = opened.train
    num_examples = train.shape[0]
    num = min(num_examples, _MOST_TRAINING_IMAGES)
    places = np.arange(num) * num_examples // num
    training = as_seen(config, train.read(places).images, seen.training)
    held_out, split = training, config.data.train_split
    if opened.validation is not None:
        held_out = as_seen(config, opened.validation.images, seen.held_out)
        split = config.data.validation_split
    return NormalImages(training, held_out, split, opened.test)


def as_stored(config: ConfigDict, images: np.ndarray, like: np.dtype) -> np.ndarray:
    """Images of another source in the form of those that the run was trained on.

    False and True become 0 and 255, floating numbers float32.

    Args:
      config: the run's.
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
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if len(bad):
        raise UserError(
            f"{len(bad)} of {len(images)} images hold NaN or infinite values, first image {bad[0]}"
        )
    problem = factory.refused_values(config, images)
    low, high = images.min(), images.max()
    if problem is None and like == np.uint8 and not 0 <= low <= high <= 1:
        problem = f"lie in [{low:g}, {high:g}], outside [0, 1]"
    if problem is not None:
        raise UserError(f"the images {problem}, unlike those of data.name={config.data.name!r}")
    return images
