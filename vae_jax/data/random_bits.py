"""Random numbers by counter: any part of a stream, in one pass that the compiler fuses."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


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


def uint16(key: Key[Array, ""], rows: int, columns: int) -> UInt32[Array, "rows columns"]:
    """Uniform integers below 2^16, four of them from each Threefry block."""
    blocks = -(-columns // 4)
    counts = jax.lax.iota(jnp.uint32, rows * blocks).reshape(rows, blocks)
    a, b = threefry(key, counts)
    return jnp.concatenate([a & 0xFFFF, a >> 16, b & 0xFFFF, b >> 16], axis=1)[:, :columns]


def normal(
    key: Key[Array, ""], first: Int[Array, ""], num: int, size: int
) -> Float[Array, "num size"]:
    """Standard normal vectors number `first`, `first` + 1, ... of the key's stream.

    A vector depends on the key and its own number alone, whichever others are asked for with it.
    The tails end at 5.3 standard deviations, as those of `jax.random.normal` do.
    """
    blocks = -(-size // 2)
    # All counts in one row: XLA's CPU backend vectorises over the last axis.
    counts = first.astype(jnp.uint32) * np.uint32(blocks) + jnp.arange(
        num * blocks, dtype=jnp.uint32
    )
    a, b = threefry(key, counts)
    uniform = jnp.concatenate([_uniform(a), _uniform(b)])
    normals = np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform)
    halves = normals.reshape(2, num, blocks)
    return jnp.concatenate([halves[0], halves[1]], axis=1)[:, :size]


def _uniform(bits: UInt32[Array, "*shape"]) -> Float[Array, "*shape"]:
    """23 bits as the middle of one of 2^23 equal parts of (-1, 1)."""
    one_to_two = jax.lax.bitcast_convert_type((bits >> 9) | np.uint32(0x3F800000), jnp.float32)
    return (one_to_two - 1) * 2 - np.float32(1 - 2**-23)


def make_key(seed: int) -> Key[Array, ""]:
    """Return the key of a seed, of the one kind that gives the same bits on every platform."""
    return jax.random.key(seed, impl="threefry2x32")
