"""Density and coverage of generated images: Naeem et al. 2020 (arXiv 2002.09797)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vae_jax.applications.generation.nearest import Points, squared_distances


class DensityCoverage(NamedTuple):
    """Equations 4 and 5 of the paper.

    Attributes:
      density: how many balls of real points a generated one lies in, divided by k; its expectation
        is 1 for two sets of one distribution, and it may be more.
      coverage: share of the real points in whose ball a generated one lies, from 0 to 1.
    """

    density: float
    coverage: float


def density_coverage(
    real: Points,
    real_squared_radii: Float[np.ndarray, " real"],
    generated: Points,
    num_neighbours: int,
) -> DensityCoverage:
    """Return how the generated points fill the balls around the real ones.

    A ball reaches out to the k-th nearest other real point, k = `num_neighbours`. Balls around
    generated points, which outliers blow up, are not asked for: recall's weakness.
    """
    num_inside, covered = 0, np.zeros(len(real), bool)
    for distances in squared_distances(generated, real):
        inside = distances <= real_squared_radii
        num_inside += int(np.count_nonzero(inside))
        covered |= inside.any(axis=0)
    density = num_inside / (num_neighbours * len(generated))
    return DensityCoverage(density, float(covered.mean()))
