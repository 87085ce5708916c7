"""Sprites with known factors of variation, rendered on demand and never stored.

As in dSprites (Matthey et al. 2017) a sprite has a shape, a scale, an orientation and a position,
and every combination of their values is an example, 737,280 in all. Coloured sprites have two more
factors.

`vae_jax.data.sprites.rendering` renders them; the examples and their order, which need no JAX, are
here.
"""

import functools

import numpy as np
from jaxtyping import Int, UInt8

from vae_jax.data.dataset import Dataset, ImagesShape, Ranges
from vae_jax.data.factors import Factors
from vae_jax.data.sprites.variants import VARIANTS, Variant
from vae_jax.errors import UserError

DEFAULT_IMAGE_SIZE = 64
# In smaller images hearts are blots; in larger ones the renderer's unit of length is too coarse.
_IMAGE_SIZES = (16, 256)

# Images per call of the renderer.
_IMAGES_AT_ONCE = 256


def sizes(name: str) -> dict[str, int]:
    """Return the number of examples of a variant in its only split, the whole grid."""
    return {"train": int(np.prod(VARIANTS[name].sizes))}


@functools.lru_cache(maxsize=1)
def _order(num_points: int) -> Int[np.ndarray, " points"]:
    """Return the index in the grid of every example.

    The order is shuffled, so that a slice of the split has all values of all factors. RandomState,
    since NumPy keeps its streams.
    """
    return np.random.RandomState(0).permutation(num_points).astype(np.int32)


def resolve_image_size(image_size: int) -> int:
    """Return the height and width for `data.image_size`; 0 is the default.

    Raises:
        UserError: it is too small or too large.
    """
    low, high = _IMAGE_SIZES
    if image_size and not low <= image_size <= high:
        raise UserError(
            f"data.image_size={image_size} must be from {low} to {high} for sprites, or 0 for "
            f"{DEFAULT_IMAGE_SIZE}"
        )
    return image_size or DEFAULT_IMAGE_SIZE


class SpritesDataset:
    """Ranges of a variant's examples, rendered when they are read; labels are the shapes.

    Args:
        name: a key of `VARIANTS`.
        ranges: the examples.
        image_size: height and width, 0 for the default.

    Raises:
        UserError: the image size is too small or too large.
    """

    def __init__(self, name: str, ranges: Ranges, image_size: int = 0) -> None:
        self.variant, self.image_size = VARIANTS[name], resolve_image_size(image_size)
        order = _order(sizes(name)["train"])
        self._points = np.concatenate([order[start:stop] for _, start, stop in ranges])

    @property
    def shape(self) -> ImagesShape:
        """Number of examples, height, width, channels."""
        return len(self._points), self.image_size, self.image_size, self.variant.num_channels

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the images."""
        return np.dtype(np.uint8)

    @functools.cached_property
    def factor_rows(self) -> UInt8[np.ndarray, "num_examples factors"]:
        """The factors of every example, which a compiled step takes in place of images."""
        return _factor_rows(self._points, self.variant.sizes)

    def read(self, indices: Int[np.ndarray, " num"]) -> Dataset:
        """Render the examples at these indices."""
        rows = _factor_rows(self._points[indices], self.variant.sizes)
        values = rows.astype(np.int32)
        factors = Factors(self.variant.names, self.variant.sizes, values)
        return Dataset(render_rows(self.variant, rows, self.image_size), values[:, 0], factors)


def _factor_rows(
    points: Int[np.ndarray, " num"], sizes: tuple[int, ...]
) -> UInt8[np.ndarray, "num factors"]:
    rows = np.empty((len(points), len(sizes)), np.uint8)
    for column in reversed(range(len(sizes))):
        points, rows[:, column] = np.divmod(points, np.int32(sizes[column]))
    return rows


def render_rows(
    variant: Variant, rows: UInt8[np.ndarray, "num factors"], image_size: int
) -> UInt8[np.ndarray, "num height width channels"]:
    """Render any number of images with one compiled program.

    Args:
        variant: defines the look of images.
        rows: the index of each factor's value, a row per image.
        image_size: height and width.
    """
    from vae_jax.data.sprites.rendering import render_compiled

    num = len(rows)
    images = np.empty((num, image_size, image_size, variant.num_channels), np.uint8)
    for first in range(0, num, _IMAGES_AT_ONCE):
        some = rows[first : first + _IMAGES_AT_ONCE]
        padded = np.zeros((_IMAGES_AT_ONCE, rows.shape[1]), np.uint8)
        padded[: len(some)] = some
        rendered = render_compiled(padded, variant, image_size)
        images[first : first + len(some)] = np.asarray(rendered)[: len(some)]
    return images
