"""Class coverage: do generated images have all classes, as often as the data?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class ClassCoverage(NamedTuple):
    """Statistics of the predicted classes of generated images.

    Attributes:
      class_shares: shares of the generated images, by class.
      class_entropy: of these shares, in nats; at most the log of the number of classes.
      class_distance: total variation distance of the shares from those of the real images, from 0
        to 1; the share of generated images that would have to change class.
    """

    class_shares: list[float]
    class_entropy: float
    class_distance: float


def class_coverage(
    real: Int[np.ndarray, " real"], generated: Int[np.ndarray, " generated"], num_classes: int
) -> ClassCoverage:
    """Compare predicted classes, counted from 0, both by the same classifier."""
    expected = np.bincount(real, minlength=num_classes) / len(real)
    shares = np.bincount(generated, minlength=num_classes) / len(generated)
    present = shares[shares > 0]
    return ClassCoverage(
        shares.tolist(),
        float(-(present * np.log(present)).sum()),
        float(np.abs(shares - expected).sum() / 2),
    )
