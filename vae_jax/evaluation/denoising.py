"""Denoising: how well a model recovers clean images, by level of corruption."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vae_jax.data.corruptions import Corruption
from vae_jax.evaluation.likelihood import image_keys


class DenoisingErrors(NamedTuple):
    """Mean squared error per pixel against the clean image, one value per level."""

    levels: list[float]
    noisy: list[float]
    denoised: list[float]


def corrupt_each(
    corruption: Corruption,
    images: Float[np.ndarray, "examples height width channels"],
    level: float,
    key: jax.Array,
) -> Float[np.ndarray, "examples height width channels"]:
    """Return the images corrupted at `level`, each with a key from its index."""
    keys = image_keys(key, 0, len(images))
    corrupt = _compiled_corruption(corruption)
    return np.asarray(corrupt(keys, images, jnp.float32(level)))


@functools.cache
def _compiled_corruption(corruption: Corruption) -> Callable[..., jax.Array]:
    return jax.jit(jax.vmap(corruption, in_axes=(0, 0, None)))


def denoising_errors(
    reconstruct: Callable[[np.ndarray], np.ndarray],
    clean: Float[np.ndarray, "examples height width channels"],
    corruption: Corruption,
    levels: list[float],
    key: jax.Array,
) -> DenoisingErrors:
    """Return the errors of the corrupted images themselves and of their reconstructions.

    Args:
      reconstruct: from images in the unit interval to reconstructions.
      clean: what the reconstructions are compared with.
      corruption: what is done to them.
      levels: its levels.
      key: of the corruption, the same draw at each level.
    """
    noisy_errors, denoised_errors = [], []
    for level in levels:
        noisy = corrupt_each(corruption, clean, level, key)
        noisy_errors.append(float(np.square(noisy - clean).mean()))
        denoised_errors.append(float(np.square(reconstruct(noisy) - clean).mean()))
    return DenoisingErrors(list(levels), noisy_errors, denoised_errors)
