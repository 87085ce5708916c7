"""A plane through latent space, onto which latents are projected and whose points are decoded."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vae_jax.evaluation import plane_maps


class Plane(NamedTuple):
    """Points origin + a axes[0] + b axes[1] of latent space, by their coordinates (a, b).

    Attributes:
      origin: the latents of (0, 0).
      axes: orthonormal; with a single latent the second is zero.
      labels: what the coordinates are.
    """

    origin: Float[np.ndarray, " latents"]
    axes: Float[np.ndarray, "2 latents"]
    labels: tuple[str, str]

    def latents(self, points: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch latents"]:
        """Return the latents of points of the plane."""
        return (self.origin + np.asarray(points) @ self.axes).astype(np.float32)

    def points(self, latents: Float[np.ndarray, "*batch latents"]) -> Float[np.ndarray, "*batch 2"]:
        """Return the coordinates of latents, projected onto the plane."""
        return (np.asarray(latents, np.float64) - self.origin) @ self.axes.T


def of_codes(latents: Float[np.ndarray, "n latents"]) -> Plane:
    """Return the latent plane of a model with two latents, else that of two principal components.

    Args:
      latents: of the images to be mapped. A single one has no components, and its plane is that of
        the first two latents.
    """
    size = latents.shape[1]
    if size > 2 and len(latents) > 1:
        found = plane_maps.principal_plane(latents)
        first, second = found.explained_share
        names = f"first principal component ({first:.0%})", f"second ({second:.0%})"
        return Plane(found.mean, found.directions, names)
    names = "z0", "z1" if size > 1 else ""
    return Plane(np.zeros(size), np.eye(2, size), names)
