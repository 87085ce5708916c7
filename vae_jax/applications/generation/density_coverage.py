"""Density and coverage of generated images: Naeem et al. 2020 (arXiv 2002.09797)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vae_jax.applications.generation.nearest import Points, squared_distances


class DensityCoverage(NamedTuple):
    """Equations 4 and 5 of the paper.

    Attributes:
      density: mean number of real points' balls that contain a generated point, divided by k; its
        expectation is 1 for two sets of one distribution, and it may be more.
      coverage: share of the real points whose ball contains a generated point, from 0 to 1.
    """

    density: float
    coverage: float


def density_coverage(
    real: Points,
    real_squared_radii: Float[np.ndarray, " real"],
    generated: Points,
    num_neighbours: int,
) -> DensityCoverage:
    """Return density and coverage of the generated points in the balls around the real points.

    A ball reaches out to the k-th nearest other real point, k = `num_neighbours`. Unlike recall,
    they do not use balls around generated points, which outliers inflate.
    """
    num_inside, covered = 0, np.zeros(len(real), bool)
    for distances in squared_distances(generated, real):
        inside = distances <= real_squared_radii
        num_inside += int(np.count_nonzero(inside))
        covered |= inside.any(axis=0)
    density = num_inside / (num_neighbours * len(generated))
    return DensityCoverage(density, float(covered.mean()))
