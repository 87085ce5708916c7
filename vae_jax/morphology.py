"""What is measured of a drawing on black ground: thickness of its strokes, slant, and size.

All three come from sums over pixels, so that they need no threshold and hold for grey and for
generated images: thickness from area and length of the outline, slant and size from second central
moments, as Morpho-MNIST measures them (Castro et al. 2019, arXiv 1809.10780, section 2).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# A sum below this share of one white pixel is an empty image.
EMPTY = 1e-3


class Morphology(NamedTuple):
    """The attributes of n images; not a number where an image is empty."""

    # Pixels from one side of a stroke to the other.
    thickness: Float[np.ndarray, " n"]
    # Degrees from upright of the axis along which rows are shifted; positive leans to the right.
    slant: Float[np.ndarray, " n"]
    # Root mean squared distance in pixels of the ink from its centre.
    size: Float[np.ndarray, " n"]


def measure(images: Float[np.ndarray, "n height width *channel"]) -> Morphology:
    """Thickness, slant and size of images with values from 0 (ground) to 1 (ink).

    Thickness is twice the area over the length of the outline, which is the sum of the gradient's
    length: a stroke of width w and length l has area w l and, ends aside, an outline of 2 l. A
    paler stroke is as thick, since both sums fall together.
    """
    ink = np.asarray(images, np.float64).reshape(*np.shape(images)[:3], -1).mean(-1)
    mass = ink.sum((1, 2))
    empty = mass < EMPTY
    mass = np.where(empty, np.nan, mass)
    rows, columns = np.arange(ink.shape[1]), np.arange(ink.shape[2])
    row = np.einsum("nij,i->n", ink, rows) / mass
    column = np.einsum("nij,j->n", ink, columns) / mass
    down = rows[None, :] - row[:, None]
    right = columns[None, :] - column[:, None]
    vertical = np.einsum("nij,ni,ni->n", ink, down, down) / mass
    horizontal = np.einsum("nij,nj,nj->n", ink, right, right) / mass
    mixed = np.einsum("nij,ni,nj->n", ink, down, right) / mass
    return Morphology(
        thickness=2 * mass / _outline(ink),
        slant=np.degrees(np.arctan2(-mixed, vertical)),
        size=np.sqrt(vertical + horizontal),
    )


def _outline(ink: Float[np.ndarray, "n height width"]) -> Float[np.ndarray, " n"]:
    """The length of the outline: the gradient's length, summed over the images."""
    framed = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    # Differences across the middles of two by two pixels know no direction better than another.
    upper, lower = framed[:, :-1], framed[:, 1:]
    down = (lower[..., :-1] + lower[..., 1:] - upper[..., :-1] - upper[..., 1:]) / 2
    left, right = framed[:, :, :-1], framed[:, :, 1:]
    across = (right[:, :-1] + right[:, 1:] - left[:, :-1] - left[:, 1:]) / 2
    return np.hypot(down, across).sum((1, 2))
