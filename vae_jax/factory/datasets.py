"""The data sets that a config names, and how their images become what a model sees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from vae_jax import data
from vae_jax.corruptions import CORRUPTIONS, Corruption
from vae_jax.data import Dataset, splits
from vae_jax.data.pixels import Prepare, binarize, to_unit_interval
from vae_jax.errors import UserError
from vae_jax.factory.keys import make_key
from vae_jax.factory.models import ImageShape, refused_values
from vae_jax.models.likelihoods import unaccepted


class Splits(NamedTuple):
    """The three parts of a data set; no validation set where the config names none."""

    train: Dataset
    validation: Dataset | None
    test: Dataset


def _check_images(config: ConfigDict, field: str, dataset: Dataset) -> None:
    images = dataset.images
    if images.dtype == np.uint8:
        return
    problem = refused_values(config, images)
    if problem is not None:
        raise UserError(
            f"{field}: pixels of {config.data.name!r} {problem}; change them, or use "
            "model.likelihood='normal' with data.binarization='none'"
        )
    problem = unaccepted("unit interval", images) if config.model.prior == "vamp" else None
    if problem is not None:
        raise UserError(
            f"{field}: pixels of {config.data.name!r} {problem}, where the learned images of "
            "model.prior='vamp' lie; rescale them, or use another prior"
        )


def _check_image_shape(config: ConfigDict, image_shape: ImageShape) -> None:
    if image_shape[2] not in (1, 3):
        raise UserError(
            f"data.name={config.data.name!r} has images of {image_shape[2]} channels; use 1 (grey) "
            "or 3 (colour)"
        )
    levels = len(config.model.channels)
    if config.model.network == "conv" and min(image_shape[:2]) < 2**levels:
        raise UserError(
            f"images of {image_shape[0]}x{image_shape[1]} pixels are too small for "
            f"model.channels={tuple(config.model.channels)}, which halves them {levels} times; "
            f"use images of at least {2**levels}x{2**levels} or name fewer channels"
        )


def load_splits(config: ConfigDict) -> Splits:
    """Read the training, validation and test sets; a static binarisation is drawn here.

    Raises:
      UserError: unknown, damaged or unfit data; splits that overlap; a batch larger than the data.
    """
    section = config.data
    sizes = data.split_sizes(section.name, section.dir)
    names = {"data.train_split": section.train_split, "data.test_split": section.test_split}
    if section.validation_split:
        names["data.validation_split"] = section.validation_split
    for field, name in names.items():
        try:
            splits.parse(name, sizes)
        except UserError as error:
            raise UserError(f"{field}: {error}") from None
    fields = list(names)
    for i, field in enumerate(fields):
        for other in fields[i + 1 :]:
            shared = splits.overlap(names[field], names[other], sizes)
            if shared:
                raise UserError(
                    f"{field}={names[field]!r} shares {shared} examples with "
                    f"{other}={names[other]!r}; use splits that do not overlap"
                )
    loaded = {field: data.load(section.name, name, section.dir) for field, name in names.items()}
    shapes = {field: dataset.images.shape[1:] for field, dataset in loaded.items()}
    if len(set(shapes.values())) > 1:
        described = ", ".join(f"{field} {shape}" for field, shape in shapes.items())
        raise UserError(f"data.name={section.name!r} has images of several shapes: {described}")
    for field, dataset in loaded.items():
        _check_images(config, field, dataset)
    _check_image_shape(config, shapes["data.train_split"])
    num_train = loaded["data.train_split"].images.shape[0]
    if config.batch_size > num_train:
        raise UserError(
            f"batch_size={config.batch_size} is larger than the {num_train} images of "
            f"data.train_split={section.train_split!r}; use at most {num_train}"
        )
    if section.binarization == "static":
        loaded = {
            field: dataset._replace(images=_static_draw(dataset.images, index, config))
            for index, (field, dataset) in enumerate(sorted(loaded.items()))
        }
    return Splits(
        train=loaded["data.train_split"],
        validation=loaded.get("data.validation_split"),
        test=loaded["data.test_split"],
    )


def _static_draw(images: np.ndarray, index: int, config: ConfigDict) -> np.ndarray:
    key = jax.random.fold_in(make_key(config.data.binarization_seed), index)
    # Zeros and ones kept as bytes: a quarter of the memory of floats.
    drawn = np.asarray(binarize(key, jnp.asarray(images)))
    return (drawn * 255).astype(np.uint8)


def mean_image(train: Dataset) -> Float[Array, "height width channels"]:
    """Mean of the training images in the unit interval, where the decoder starts."""
    scale = 255 if train.images.dtype == np.uint8 else 1
    return jnp.asarray(train.images.mean(axis=0) / scale, jnp.float32)


def build_prepare(config: ConfigDict) -> Prepare:
    """How stored images become targets: `prepare(key, images)` in the unit interval."""
    if config.data.binarization == "dynamic":
        return binarize
    return lambda key, images: to_unit_interval(images)


def build_corrupt(config: ConfigDict) -> Corruption | None:
    """What happens to the encoder's input; None where it sees the target itself."""
    return CORRUPTIONS.get(config.corruption)
