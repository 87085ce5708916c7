"""From stored pixels to what a model sees: the unit interval, and zeros and ones drawn from it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8, UInt32

StoredImages = (
    UInt8[Array, "batch height width channels"] | Float[Array, "batch height width channels"]
)

# prepare(key, stored images) -> targets in the unit interval.
Prepare = Callable[[Key[Array, ""], StoredImages], Float[Array, "..."]]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def to_unit_interval(images: StoredImages) -> Float[Array, "batch height width channels"]:
    """8-bit values divided by 255; floating values as they are."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    return images


def threefry(
    key: Key[Array, ""], counts: UInt32[Array, "*shape"]
) -> tuple[UInt32[Array, "*shape"], UInt32[Array, "*shape"]]:
    """Two words of 32 random bits a count: the Threefry-2x32-20 of Salmon et al. 2011.

    The same bits as `jax.extend.random.threefry_2x32`, whose rounds JAX rolls into a loop on the
    CPU. Written out they fuse into one pass, which makes dynamic binarisation three times cheaper.
    """
    first, second = jax.random.key_data(key)
    words = (first, second, first ^ second ^ _PARITY)
    a, b = counts + words[0], jnp.zeros_like(counts) + words[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            a = a + b
            b = a ^ ((b << np.uint32(rotation)) | (b >> np.uint32(32 - rotation)))
        a = a + words[(group + 1) % 3]
        b = b + words[(group + 2) % 3] + np.uint32(group + 1)
    return a, b


def _random_uint16(key: Key[Array, ""], rows: int, columns: int) -> UInt32[Array, "rows columns"]:
    """Uniform integers below 2^16, four of them from each Threefry block."""
    blocks = -(-columns // 4)
    counts = jax.lax.iota(jnp.uint32, rows * blocks).reshape(rows, blocks)
    a, b = threefry(key, counts)
    return jnp.concatenate([a & 0xFFFF, a >> 16, b & 0xFFFF, b >> 16], axis=1)[:, :columns]


def binarize(
    key: Key[Array, ""], images: StoredImages
) -> Float[Array, "batch height width channels"]:
    """One Bernoulli draw a value, its probability the value's place in the unit interval.

    8-bit values are compared as integers with 16 random bits: 0 and 255 are certain, and the
    probability of any other value is exact to 2^-16.
    """
    if images.dtype == jnp.uint8:
        # One row an image: XLA's CPU backend shares rows out among its threads.
        rows = images.reshape(images.shape[0], -1).astype(jnp.uint32)
        bits = _random_uint16(key, *rows.shape)
        return (bits * 255 < rows * 65536).astype(jnp.float32).reshape(images.shape)
    return (jax.random.uniform(key, images.shape) < images).astype(jnp.float32)
