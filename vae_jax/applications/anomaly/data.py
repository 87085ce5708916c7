"""The images that anomaly detection is about, as a run's model sees them."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.data import Dataset, LazyDataset
from vae_jax.data.dataset import evenly_spaced
from vae_jax.data.pixels import binarize, to_unit_interval
from vae_jax.evaluation import metrics
from vae_jax.trained import TrainedModel

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


def build_keys(model: TrainedModel) -> tuple[Keys, Keys]:
    """Return the keys that `evaluation.seed` gives: of how images are seen, and of the samples."""
    seen, samples = jax.random.split(model.keys.anomaly)
    num = len(Keys._fields)
    return Keys(*jax.random.split(seen, num)), Keys(*jax.random.split(samples, num))


def as_seen(model: TrainedModel, images: np.ndarray, key: Key[Array, ""]) -> Images:
    """Stored images as the model sees them: binarised, one draw each, if it was trained so."""
    if not model.binarizes:
        return np.asarray(to_unit_interval(jax.numpy.asarray(images)))
    return metrics.prepare_targets(binarize, images, key)


def load_normal(model: TrainedModel) -> NormalImages:
    """Read what the run's data tell of normal images.

    Raises:
      UserError: as `factory.open_splits`.
    """
    opened, (seen, _) = model.open_splits(), build_keys(model)
    train: LazyDataset = opened.train
    places = evenly_spaced(train.shape[0], _MOST_TRAINING_IMAGES)
    training = as_seen(model, train.read(places).images, seen.training)
    held_out, split = training, model.data.train_split
    if opened.validation is not None:
        held_out = as_seen(model, opened.validation.images, seen.held_out)
        split = model.data.validation_split
    return NormalImages(training, held_out, split, opened.test)
