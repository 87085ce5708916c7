"""Counter-based random numbers: any part of a stream, in one fused pass."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
# Normals in a vector of `normal`, whose counts have 64 bits.
LONGEST = 2 * (2**16 - 1)


def threefry(
    key: Key[Array, ""],
    counts: UInt32[Array, "*shape"],
    high_counts: UInt32[Array, "*shape"] | None = None,
) -> tuple[UInt32[Array, "*shape"], UInt32[Array, "*shape"]]:
    """Return two words of 32 random bits per count, by Threefry-2x32-20 (Salmon et al. 2011).

    A count has 64 bits, in two words; without `high_counts` the high words are 0.

    The bits are those of `jax.extend.random.threefry_2x32`, whose rounds JAX rolls into a loop on
    the CPU. Unrolled they fuse into one pass, which makes dynamic binarisation three times cheaper.
    """
    first, second = jax.random.key_data(key)
    words = (first, second, first ^ second ^ _PARITY)
    high_counts = jnp.zeros_like(counts) if high_counts is None else high_counts
    a, b = counts + words[0], high_counts + words[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            a = a + b
            b = a ^ ((b << np.uint32(rotation)) | (b >> np.uint32(32 - rotation)))
        a = a + words[(group + 1) % 3]
        b = b + words[(group + 2) % 3] + np.uint32(group + 1)
    return a, b


def uint16(key: Key[Array, ""], rows: int, columns: int) -> UInt32[Array, "rows columns"]:
    """Return uniform integers below 2^16, four of them from each Threefry block."""
    blocks = -(-columns // 4)
    counts = jax.lax.iota(jnp.uint32, rows * blocks).reshape(rows, blocks)
    a, b = threefry(key, counts)
    return jnp.concatenate([a & 0xFFFF, a >> 16, b & 0xFFFF, b >> 16], axis=1)[:, :columns]


def normal(
    key: Key[Array, ""], first: Int[Array, ""], num: int, size: int
) -> Float[Array, "num size"]:
    """Return `num` standard normal vectors of the key's stream, from number `first` on.

    A vector depends on the key and its number alone. No two numbers below 2^31 have the same
    vector, since their blocks are counted in 64 bits. The tails end at 5.3 standard deviations, as
    with `jax.random.normal`.

    Raises:
      ValueError: `size` is above `LONGEST`.
    """
    blocks = -(-size // 2)
    if size > LONGEST:
        raise ValueError(
            f"vectors of {size} normals are too long to be counted; use {LONGEST:,} at most"
        )
    low, high = _product(first.astype(jnp.uint32), blocks)
    # All counts in one row: XLA's CPU backend vectorises over the last axis.
    counts = low + jnp.arange(num * blocks, dtype=jnp.uint32)
    a, b = threefry(key, counts, high + (counts < low))
    uniform = jnp.concatenate([_uniform(a), _uniform(b)])
    normals = np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform)
    halves = normals.reshape(2, num, blocks)
    return jnp.concatenate([halves[0], halves[1]], axis=1)[:, :size]


def _product(number: UInt32[Array, ""], factor: int) -> tuple[UInt32[Array, ""], UInt32[Array, ""]]:
    """Return the low and the high word of `number * factor`, for a factor below 2^16."""
    low = (number & 0xFFFF) * np.uint32(factor)
    high = (number >> 16) * np.uint32(factor) + (low >> 16)
    return (high << 16) | (low & 0xFFFF), high >> 16


def _uniform(bits: UInt32[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the centre of one of 2^23 equal parts of (-1, 1), chosen by 23 bits."""
    one_to_two = jax.lax.bitcast_convert_type((bits >> 9) | np.uint32(0x3F800000), jnp.float32)
    return (one_to_two - 1) * 2 - np.float32(1 - 2**-23)


def make_key(seed: int) -> Key[Array, ""]:
    """Return the key of a seed, of the kind that gives the same bits on every platform."""
    return jax.random.key(seed, impl="threefry2x32")
