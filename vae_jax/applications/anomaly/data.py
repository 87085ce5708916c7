"""Normal images of a run, as its model sees them, for anomaly detection."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.data import Dataset, LazyDataset
from vae_jax.data.dataset import evenly_spaced
from vae_jax.data.pixels import as_floats, binarize
from vae_jax.evaluation import metrics
from vae_jax.trained import TrainedModel

# Training images by which normal is defined, at most.
_MOST_TRAINING_IMAGES = 10_000

Images = Float[np.ndarray, "_images height width channels"]


class NormalImages(NamedTuple):
    """Images like those that a run was trained on.

    Attributes:
      training: training images, evenly spaced.
      held_out: the validation images; where there are none, the same as `training`.
      held_out_split: the split of `held_out`.
      test: the test set as stored.
    """

    training: Images
    held_out: Images
    held_out_split: str
    test: Dataset


class Keys(NamedTuple):
    """One key per set of images."""

    training: Key[Array, ""]
    held_out: Key[Array, ""]
    test: Key[Array, ""]
    others: Key[Array, ""]


def build_keys(model: TrainedModel) -> tuple[Keys, Keys]:
    """Return the keys that `evaluation.seed` gives: of the binarisation, and of the samples."""
    seen, samples = jax.random.split(model.keys.anomaly)
    num = len(Keys._fields)
    return Keys(*jax.random.split(seen, num)), Keys(*jax.random.split(samples, num))


def as_seen(model: TrainedModel, images: np.ndarray, key: Key[Array, ""]) -> Images:
    """Return stored images as the model sees them: binarised, one draw each, if trained so."""
    if not model.binarizes:
        return as_floats(images)
    return metrics.prepare_targets(binarize, images, key)


def load_normal(model: TrainedModel) -> NormalImages:
    """Read the normal images of a run's data.

    Raises:
      UserError: as `factory.open_splits`.
    """
    opened, (seen, _) = model.open_splits(), build_keys(model)
    train: LazyDataset = opened.train
    indices = evenly_spaced(train.shape[0], _MOST_TRAINING_IMAGES)
    training = as_seen(model, train.read(indices).images, seen.training)
    held_out, split = training, model.data.train_split
    if opened.validation is not None:
        held_out = as_seen(model, opened.validation.images, seen.held_out)
        split = model.data.validation_split
    return NormalImages(training, held_out, split, opened.test)
