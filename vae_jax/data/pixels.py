"""Stored pixels to the unit interval, and zeros and ones drawn from it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from vae_jax.data import random_bits

StoredImages = (
    UInt8[Array, "batch height width channels"] | Float[Array, "batch height width channels"]
)

# What is turned into images: those stored, or the factors that they are rendered from.
StoredPictures = StoredImages | UInt8[Array, "batch factors"]
# What a training step gets: such, or arrays by the name of their modality, row i of each belonging
# to example i.
StoredExamples = StoredPictures | dict[str, Array]

# prepare(key, stored pictures) -> targets in the unit interval.
Prepare = Callable[[Key[Array, ""], StoredPictures], Float[Array, "..."]]


def to_unit_interval(images: StoredImages) -> Float[Array, "batch height width channels"]:
    """Return 8-bit values divided by 255; floating values as they are."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    return images


def binarize(
    key: Key[Array, ""], images: StoredImages
) -> Float[Array, "batch height width channels"]:
    """Return one Bernoulli draw a value, its probability the value's place in the unit interval.

    8-bit values are compared as integers with 16 random bits: 0 and 255 are certain, and the
    probability of any other value is exact to 2^-16.
    """
    if images.dtype == jnp.uint8:
        # One row an image: XLA's CPU backend shares rows out among its threads.
        rows = images.reshape(images.shape[0], -1).astype(jnp.uint32)
        bits = random_bits.uint16(key, *rows.shape)
        return (bits * 255 < rows * 65536).astype(jnp.float32).reshape(images.shape)
    return (jax.random.uniform(key, images.shape) < images).astype(jnp.float32)
