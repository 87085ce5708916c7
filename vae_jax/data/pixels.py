"""Stored pixels in the unit interval, and binarisation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num, UInt8

from vae_jax.data import random_bits

StoredImages = (
    UInt8[Array, "batch height width channels"] | Float[Array, "batch height width channels"]
)

# Stored images, or the factors that images are rendered from.
StoredPictures = StoredImages | UInt8[Array, "batch factors"]
# The batch of a training step: images or factors, or arrays by the name of their modality, where
# row i belongs to example i.
StoredExamples = StoredPictures | dict[str, Array]

# Names of arrays where examples are images with labels, -1 where a label is not known, and of
# those with a label, which are cycled through.
IMAGE, LABEL = "image", "label"
LABELLED_IMAGE, LABELLED_LABEL = "labelled_image", "labelled_label"
# The name of numbers beside images, which are conditions.
CONDITION = "condition"

# prepare(key, stored pictures) -> targets in the unit interval.
Prepare = Callable[[Key[Array, ""], StoredPictures], Float[Array, "..."]]


def to_unit_interval(images: StoredImages) -> Float[Array, "batch height width channels"]:
    """Return 8-bit values divided by 255; floating values as they are."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    return images


def as_floats(
    stored: Num[np.ndarray, "batch height width channels"],
) -> Float[np.ndarray, "batch height width channels"]:
    """Return the values of `to_unit_interval` on the host, without a program per shape."""
    if stored.dtype == np.uint8:
        # As XLA divides by a number: it multiplies by the reciprocal, which rounds otherwise.
        return stored * np.float32(1 / 255)
    return np.asarray(stored, np.float32)


def black_ones(images: np.ndarray) -> str | None:
    """Return why images are hardly 8-bit: they hold zeros and ones alone; None if they do not.

    As 8-bit values ones are as good as black, and a model of them learns next to nothing.
    """
    if images.dtype != np.uint8 or images.size == 0 or images.max() != 1:
        return None
    return "are uint8 and hold only 0 and 1, where white is 255; store them as bool, or times 255"


def binarize(
    key: Key[Array, ""], images: StoredImages
) -> Float[Array, "batch height width channels"]:
    """Return one Bernoulli draw per value, with the value in the unit interval as probability.

    8-bit values are compared as integers with 16 random bits: 0 and 255 are certain, and the
    probability of any other value is exact to 2^-16.
    """
    if images.dtype == jnp.uint8:
        # One row per image: XLA's CPU backend distributes rows over its threads.
        rows = images.reshape(images.shape[0], -1).astype(jnp.uint32)
        bits = random_bits.uint16(key, *rows.shape)
        return (bits * 255 < rows * 65536).astype(jnp.float32).reshape(images.shape)
    drawn = (jax.random.uniform(key, images.shape) < images).astype(jnp.float32)
    # A pixel that was not seen stays so.
    return jnp.where(jnp.isnan(images), jnp.nan, drawn)


def with_grey_holes(images: np.ndarray) -> np.ndarray:
    """Return images to look at, grey where a pixel is NaN because it was not seen."""
    return images if images.dtype == np.uint8 else np.where(np.isnan(images), 0.5, images)
