"""What the denoising experiments do to the encoder's input; the target stays clean."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Images = Float[Array, "*batch height width channels"]
Level = Float[Array, ""]
Corruption = Callable[[Key[Array, ""], Images, Level], Images]


def gaussian(key: Key[Array, ""], images: Images, level: Level) -> Images:
    """Add normal noise of standard deviation `level`. The result may leave [0, 1]."""
    return images + level * jax.random.normal(key, images.shape, images.dtype)


def salt_and_pepper(key: Key[Array, ""], images: Images, level: Level) -> Images:
    """Set a share `level` of the values to 0 or 1, with equal probability (Vincent et al. 2010)."""
    uniform = jax.random.uniform(key, images.shape, images.dtype)
    salt = (uniform < level / 2).astype(images.dtype)
    return jnp.where(uniform < level, salt, images)


def masking(key: Key[Array, ""], images: Images, level: Level) -> Images:
    """Set a share `level` of the pixels to 0 in all channels (Vincent et al. 2008)."""
    kept = jax.random.bernoulli(key, 1 - level, (*images.shape[:-1], 1))
    return images * kept.astype(images.dtype)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian": gaussian,
    "masking": masking,
    "salt_and_pepper": salt_and_pepper,
}

# Where the level is a share, it ends at 1; a standard deviation has no upper end.
MAX_LEVEL: dict[str, float] = {
    "gaussian": float("inf"),
    "masking": 1.0,
    "salt_and_pepper": 1.0,
}
