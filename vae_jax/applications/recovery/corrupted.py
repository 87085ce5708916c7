"""Corrupted images, as every method that recovers them sees them.

They are rounded to the 256 grey values of an image file: in full precision a blur could be inverted
almost exactly, which is impossible for a user's images.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool

from vae_jax.data.corruptions import at_any_level
from vae_jax.evaluation.denoising import corrupt_each
from vae_jax.evaluation.image_quality import Images
from vae_jax.settings import name_of

Missing = Bool[np.ndarray, "num height width channels"]

# Corruptions whose lost pixels are known.
_WITH_MASK = ("box", "masking")


class Corrupted(NamedTuple):
    """Corrupted images, and what a method may know about their corruption.

    Attributes:
      images: in steps of 1/255; noise may leave the unit interval.
      level: of the corruption.
      missing: mask of the values that were lost; None for corruptions without one.
    """

    images: Images
    level: float
    missing: Missing | None

    def known_kept(self, recovered: Images) -> Images:
        """Return the recovered images with the values that were not lost put back."""
        if self.missing is None:
            return recovered
        return np.where(self.missing, recovered, self.images)


def corrupt(corruption: Any, clean: Images, level: float, key: jax.Array) -> Corrupted:
    """Return images corrupted at a level, each with a key from its index, for every method."""
    at_level = at_any_level(corruption)
    images = corrupt_each(at_level, clean, level, key)
    missing = None
    if name_of(corruption) in _WITH_MASK:
        # Neither sets a value to 1.
        missing = corrupt_each(at_level, np.ones_like(clean), level, key) != 1

    return Corrupted(np.round(images * 255) / np.float32(255), level, missing)
