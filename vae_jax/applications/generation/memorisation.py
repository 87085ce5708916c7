"""Memorisation: are generated images training images again.

Distances are Euclidean over pixels. A generated image is no copy if it is as far from the nearest
training image as a test image is; blurred images are nearer to everything than sharp ones, so that
less distance alone proves no copying, but a share far above its quantile calls for a look at the
pictures.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Of the test images, those that are nearest to a training image.
QUANTILE = 0.01


class Memorisation(NamedTuple):
    """Distances of generated images to the nearest training image, beside those of test images.

    Attributes:
      nearest_distance: their median.
      test_nearest_distance: that of the test images.
      copies: share of the generated images that are nearer to a training image than all but 1 % of
        the test images are; 0.01 where nothing is memorised.
    """

    nearest_distance: float
    test_nearest_distance: float
    copies: float


def memorisation(
    generated: Float[np.ndarray, " generated"], test: Float[np.ndarray, " test"]
) -> Memorisation:
    """Compare the distances of generated and of test images to their nearest training image."""
    threshold = np.quantile(test, QUANTILE)
    return Memorisation(
        float(np.median(generated)), float(np.median(test)), float((generated < threshold).mean())
    )
