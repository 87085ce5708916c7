"""Memorisation: are generated images copies of training images?

Distances are Euclidean over pixels. A generated image is not a copy if it is as far from the
nearest training image as a test image is. Blurred images are nearer to everything than sharp ones,
so that a smaller distance alone does not prove copying. A share of copies far above the quantile
calls for a look at the images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Share of the test images whose distance to the training images counts as a copy's.
QUANTILE = 0.01


class Memorisation(NamedTuple):
    """Distances of generated and of test images to the nearest training image.

    Attributes:
      nearest_distance: median of the generated images.
      test_nearest_distance: median of the test images.
      copies: share of the generated images that are nearer to a training image than all but 1 % of
        the test images are; about 0.01 where nothing is memorised.
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
