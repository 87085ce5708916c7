"""Measurements of a drawing on black ground: thickness of its strokes, slant, and size.

All three come from sums over pixels, so that they need no threshold and hold for grey, binarised
and generated images. Slant and size come from second central moments, as in Morpho-MNIST (Castro et
al. 2019, arXiv 1809.10780, section 2). Thickness is the width of the endless stroke with the same
density of ink around its ink. The ratio of area to outline would be lower for a noisy draw, whose
edges are rough, and higher for a blurred image.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# A sum below this share of one white pixel is an empty image.
EMPTY = 1e-3

# Standard deviation in pixels of the Gaussian neighbourhood. A wider one would reach neighbouring
# strokes; a narrower one would depend on the sharpness of edges.
_REACH = 2.0
# Widths of endless strokes, in pixels, for the inversion of `_density_of_stroke`.
_WIDTHS = np.linspace(0.01, 100, 10_000)


class Morphology(NamedTuple):
    """The attributes of n images; NaN where an image is empty."""

    # Width of strokes, in pixels.
    thickness: Float[np.ndarray, " n"]
    # Degrees from upright of the axis along which rows are shifted; positive leans to the right.
    slant: Float[np.ndarray, " n"]
    # Root mean squared distance in pixels of the ink from its centre.
    size: Float[np.ndarray, " n"]


def measure(images: Float[np.ndarray, "n height width *channel"]) -> Morphology:
    """Return thickness, slant and size of images with values from 0 (ground) to 1 (ink).

    Ink of half the brightness counts as half the ink: a pale stroke is thinner, and the mean of
    binary draws is about as thick as the draws.
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
        thickness=np.interp(density(ink), _densities(), _WIDTHS),
        slant=np.degrees(np.arctan2(-mixed, vertical)),
        size=np.sqrt(vertical + horizontal),
    )


def density(ink: Float[np.ndarray, "n height width"]) -> Float[np.ndarray, " n"]:
    """Return the density of ink around ink, from 0 to 1, the mean over the ink; NaN without ink.

    The neighbourhood of a pixel is weighted by a Gaussian, in which single pixels hardly count:
    neither blur nor the noise of a Bernoulli draw changes the mean much.
    """
    down, across = (_gaussian(length) for length in ink.shape[1:])
    mass = ink.sum((1, 2))
    return (ink * (down @ ink @ across)).sum((1, 2)) / np.where(mass < EMPTY, np.nan, mass)


def _gaussian(length: int) -> Float[np.ndarray, "length length"]:
    positions = np.arange(length)
    distances = (positions[:, None] - positions) / _REACH
    return np.exp(-(distances**2) / 2) / (_REACH * math.sqrt(2 * math.pi))


@functools.cache
def _densities() -> Float[np.ndarray, " widths"]:
    return np.array([_density_of_stroke(width) for width in _WIDTHS])


def _density_of_stroke(width: float) -> float:
    """Return the density of an endless stroke, as `density` defines it.

    It is the mean over the points of the stroke of the mass, within the stroke, of a Gaussian
    there. For width w and standard deviation s this is the mean over u and v in [0, w] of w N(u; v,
    s^2), erf(w / (s sqrt(2))) - s sqrt(2 / pi) (1 - exp(-w^2 / (2 s^2))) / w.
    """
    ends = _REACH * math.sqrt(2 / math.pi) * -math.expm1(-((width / _REACH) ** 2) / 2)
    return math.erf(width / (_REACH * math.sqrt(2))) - ends / width
