"""The 256 levels of an 8-bit image, as the data pipeline gives them: k / 255, k = 0..255."""

import jax.numpy as jnp
from jaxtyping import Array, Float

NUM_LEVELS = 256


def level_values() -> Float[Array, " levels"]:
    """Return every level in the unit interval, darkest first."""
    return jnp.arange(NUM_LEVELS, dtype=jnp.float32) / (NUM_LEVELS - 1)


def nearest_level(value: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the index k of the level nearest to each value, as a float."""
    return jnp.clip(jnp.round(value * (NUM_LEVELS - 1)), 0, NUM_LEVELS - 1)
