"""Precision and recall of generated images: Kynkäänniemi et al. 2019 (arXiv 1904.06991)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vae_jax.applications.generation.nearest import Points, squared_distances


class PrecisionRecall(NamedTuple):
    """Shares from 0 to 1.

    Attributes:
      precision: share of the generated points on the manifold of the real points.
      recall: share of the real points on the manifold of the generated points.
    """

    precision: float
    recall: float


def precision_recall(
    real: Points,
    real_squared_radii: Float[np.ndarray, " real"],
    generated: Points,
    generated_squared_radii: Float[np.ndarray, " generated"],
) -> PrecisionRecall:
    """Return the share of each set that lies on the manifold of the other.

    The manifold of a set is the union of balls around its points. Each reaches out to the k-th
    nearest point of the same set (equations 1 and 2 of the paper); `squared_radii` gives the radii.
    """
    on_real = np.zeros(len(generated), bool)
    on_generated = np.zeros(len(real), bool)
    first = 0
    for distances in squared_distances(generated, real):
        last = first + len(distances)
        on_real[first:last] = (distances <= real_squared_radii).any(axis=1)
        on_generated |= (distances <= generated_squared_radii[first:last, None]).any(axis=0)
        first = last
    return PrecisionRecall(float(on_real.mean()), float(on_generated.mean()))
