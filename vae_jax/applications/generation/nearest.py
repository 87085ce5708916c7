"""Squared Euclidean distances between two sets of points, a block of rows at a time."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from vae_jax.errors import UserError

# Rows of distances that are alive at once: they should stay in the cache.
_ROWS = 250
# Below this share of the points' squares, most digits of an expanded square are lost.
_CLOSE = 1e-4
# Pairs of close points whose difference is computed at once.
_PAIRS = 10_000

Points = Float[np.ndarray, "_num features"]


def squared_distances(queries: Points, points: Points) -> Iterator[Float[np.ndarray, "rows num"]]:
    """Yield squared distances from each query to every point, up to 250 queries at a time.

    Equal rows have distance 0.
    """
    # Relative to the mean of the points, expanded squares lose the fewest digits.
    middle = points.mean(axis=0)
    points = (points - middle).astype(np.float32)
    squares = np.square(points).sum(axis=1)
    for first in range(0, len(queries), _ROWS):
        rows = (queries[first : first + _ROWS] - middle).astype(np.float32)
        distances = (-2 * rows) @ points.T
        distances += squares
        row_squares = np.square(rows).sum(axis=1)[:, None]
        distances += row_squares
        # From the difference itself, where the expanded square is all rounding.
        close = np.argwhere(distances <= _CLOSE * row_squares)
        for some in np.array_split(close, -(-len(close) // _PAIRS) or 1):
            own, other = some.T
            distances[own, other] = np.square(rows[own] - points[other]).sum(axis=1)
        yield np.maximum(distances, 0, out=distances)


def squared_radii(
    points: Points, nums_neighbours: Sequence[int]
) -> list[Float[np.ndarray, " num"]]:
    """Return squared distances from each point to its k-th nearest, for k in `nums_neighbours`.

    Raises:
      UserError: there are not more than k points.
    """
    most = max(nums_neighbours)
    if len(points) <= most:
        raise UserError(
            f"num_images={len(points)} must be more than the {most} neighbours that are counted"
        )
    ranks = list(nums_neighbours)
    parts = []
    for first, distances in enumerate(squared_distances(points, points)):
        own = np.arange(len(distances))
        # The point itself is not a neighbour, also where another point is equal to it.
        distances[own, first * _ROWS + own] = -1
        parts.append(np.partition(distances, ranks, axis=1)[:, ranks])
    return list(np.concatenate(parts).T)


def nearest(
    queries: Points, points: Points
) -> tuple[Float[np.ndarray, " queries"], Int[np.ndarray, " queries"]]:
    """Return the distance from each query to the nearest point, and that point's index."""
    distances, indices = [], []
    for block in squared_distances(queries, points):
        nearest_indices = block.argmin(axis=1)
        indices.append(nearest_indices)
        distances.append(np.sqrt(block[np.arange(len(block)), nearest_indices]))
    return np.concatenate(distances), np.concatenate(indices)
