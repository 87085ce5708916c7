"""Corruptions of the images that the encoder sees, while the targets stay clean.

Each function takes a key, images in the unit interval and a level, which may be traced.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from vae_jax.settings import Traced, numbers, register, traced

Images = Float[Array, "*batch height width channels"]
Level = Traced
ImageShape = tuple[int, int, int]

# corrupt(key, images, level)
Corruption = Callable[[Key[Array, ""], Images, Level], Images]

CORRUPTIONS: dict[str, type] = {}


@functools.cache
def at_any_level(corruption: Any) -> Corruption:
    """Return a corruption as a function of key, images and level."""

    def corrupt(key: Key[Array, ""], images: Images, level: Level) -> Images:
        at_level: Images = dataclasses.replace(corruption, level=level).corrupt(key, images)
        return at_level

    return corrupt


def levels_around(corruption: Any, image_shape: ImageShape, parts: int = 4) -> list[float]:
    """Return levels from none to twice the level trained at, up to the highest possible.

    Args:
      corruption: the one trained with.
      image_shape: height, width and channels.
      parts: steps up to the level trained at; downsampling has steps of its own.
    """
    if hasattr(corruption, "levels_around"):
        return list(corruption.levels_around(image_shape))
    levels = [round(corruption.level * part / parts, 6) for part in range(2 * parts + 1)]
    return [level for level in levels if level <= getattr(corruption, "max_level", float("inf"))]


def gaussian(key: Key[Array, ""], images: Images, level: Level) -> Images:
    """Add normal noise with standard deviation `level`. The result may leave [0, 1]."""
    return images + level * jax.random.normal(key, images.shape, images.dtype)


def salt_and_pepper(key: Key[Array, ""], images: Images, level: Level) -> Images:
    """Set a share `level` of the values to 0 or 1, with equal probability (Vincent et al. 2010)."""
    uniform = jax.random.uniform(key, images.shape, images.dtype)
    salt = (uniform < level / 2).astype(images.dtype)
    return jnp.where(uniform < level, salt, images)


def masking(key: Key[Array, ""], images: Images, level: Level) -> Images:
    """Set a share `level` of the pixels to 0 in all channels (Vincent et al. 2008)."""
    kept = jax.random.bernoulli(key, 1 - level, (*images.shape[:-1], 1))
    return images * kept.astype(images.dtype)


def box(
    key: Key[Array, ""], images: Images, level: Level, centre: tuple[float, ...] = ()
) -> Images:
    """Paint a grey box in each image; `level` is its side over the image's.

    Its `centre` is at these shares of height and width, or as near as the edge lets it be; without
    one, every position inside the image is equally probable. Half grey differs from black
    background.
    """
    height, width = images.shape[-3:-1]
    if centre:
        rows = _in_interval_around(centre[0], images.shape[:-3], height, level)
        columns = _in_interval_around(centre[1], images.shape[:-3], width, level)
    else:
        rows_key, columns_key = jax.random.split(key)
        rows = _in_random_interval(rows_key, images.shape[:-3], height, level)
        columns = _in_random_interval(columns_key, images.shape[:-3], width, level)
    inside = rows[..., :, None, None] & columns[..., None, :, None]
    return jnp.where(inside, 0.5, images)


def downsampling(key: Key[Array, ""], images: Images, level: Level) -> Images:
    """Replace each square of `level` by `level` pixels by its mean; the image keeps its size.

    The level is the factor of downsampling, a whole number; up to 1 nothing changes. Where it does
    not divide the image, the last squares are cut off at the edge.
    """
    del key

    def means(size: int) -> Float[Array, "size size"]:
        square = jnp.arange(size) // jnp.maximum(level, 1)
        same = (square[:, None] == square).astype(images.dtype)
        return same / same.sum(axis=1, keepdims=True)

    return _along_both_sides(means, images)


def blur(key: Key[Array, ""], images: Images, level: Level) -> Images:
    """Blur with a normal density of standard deviation `level` pixels.

    At the edges the weights of the pixels inside are normalised.
    """
    del key

    def weights(size: int) -> Float[Array, "size size"]:
        position = jnp.arange(size, dtype=images.dtype)
        # At a thousandth of a pixel and below, the weights are exactly those of no blur.
        distance = (position[:, None] - position) / jnp.maximum(level, 1e-3)
        return jax.nn.softmax(-jnp.square(distance) / 2, axis=1)

    return _along_both_sides(weights, images)


def _in_random_interval(
    key: Key[Array, ""], shape: tuple[int, ...], size: int, share: Level
) -> Bool[Array, "*batch size"]:
    """Return the mask of an interval at a random position, its length a share of `size`."""
    length = jnp.round(share * size)
    uniform = jax.random.uniform(key, (*shape, 1))
    start = jnp.floor(uniform * (size - length + 1))
    position = jnp.arange(size)
    return (position >= start) & (position < start + length)


def _in_interval_around(
    centre: float, shape: tuple[int, ...], size: int, share: Level
) -> Bool[Array, "*batch size"]:
    """Return the mask of an interval around a share of the size, its length a share of `size`."""
    length = jnp.round(share * size)
    start = jnp.clip(jnp.round(centre * size - length / 2), 0, size - length)
    position = jnp.arange(size)
    return jnp.broadcast_to((position >= start) & (position < start + length), (*shape, size))


def _along_both_sides(
    weights: Callable[[int], Float[Array, "size size"]], images: Images
) -> Images:
    """Multiply rows and columns by the matrices that `weights` gives for their numbers."""
    height, width = images.shape[-3:-1]
    # In lower precision than float32 images would change without corruption.
    return jnp.einsum(
        "ij,...jkc,lk->...ilc", weights(height), images, weights(width), precision="highest"
    )


@runtime_checkable
class CorruptionPart(Protocol):
    """Settings of a corruption.

    It may have a method `unfit`, which takes height, width and channels and returns which setting
    does not fit such images and why, or None. A corruption with a `level`, and possibly a
    `max_level`, is measured at several levels. `task` names the recovery, by default "recovery".
    """

    def corrupt(self, key: Key[Array, ""], images: Images) -> Images:
        """Return what the encoder sees in place of the images."""


@register(CORRUPTIONS, "none")
@dataclasses.dataclass(frozen=True)
class NoCorruption:
    """The encoder sees the images themselves."""

    def corrupt(self, key: Key[Array, ""], images: Images) -> Images:
        """Return the images."""
        del key
        return images


@register(CORRUPTIONS, "gaussian")
@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Normal noise."""

    task = "denoising"
    max_level = float("inf")

    level: Traced = traced(0.5, "Standard deviation in grey values from 0 to 1.", above=0.0)

    def corrupt(self, key: Key[Array, ""], images: Images) -> Images:
        """Return the images with noise."""
        return gaussian(key, images, self.level)


@register(CORRUPTIONS, "salt_and_pepper")
@dataclasses.dataclass(frozen=True)
class SaltAndPepper:
    """Values set to 0 or 1 (Vincent et al. 2010)."""

    task = "denoising"
    max_level = 1.0

    level: Traced = traced(0.1, "Share of the values.", above=0.0, at_most=1.0)

    def corrupt(self, key: Key[Array, ""], images: Images) -> Images:
        """Return the images with some values 0 or 1."""
        return salt_and_pepper(key, images, self.level)


@register(CORRUPTIONS, "masking")
@dataclasses.dataclass(frozen=True)
class Masking:
    """Pixels set to 0 (Vincent et al. 2008)."""

    task = "denoising"
    max_level = 1.0

    level: Traced = traced(0.25, "Share of the pixels.", above=0.0, at_most=1.0)

    def corrupt(self, key: Key[Array, ""], images: Images) -> Images:
        """Return the images with some pixels 0."""
        return masking(key, images, self.level)


@register(CORRUPTIONS, "box")
@dataclasses.dataclass(frozen=True)
class Box:
    """A grey box, at a random position or in one place."""

    task = "inpainting"
    max_level = 1.0

    level: Traced = traced(
        0.5, "Side of the box, as a share of the image's.", above=0.0, at_most=1.0
    )
    centre: tuple[float, ...] = numbers(
        (),
        "Row and column of its centre, as shares of height and width; () is anywhere.",
        each="from 0 to 1",
        check_each=lambda value: 0 <= value <= 1,
    )

    def problem(self) -> str | None:
        """Return what is wrong with the centre; None if nothing is."""
        if len(self.centre) not in (0, 2):
            return f"centre={self.centre} must be a row and a column, such as (0.5, 0.5), or ()"
        return None

    def unfit(self, image_shape: ImageShape) -> str | None:
        """Return why the box does not fit such images; None if it does."""
        sides = image_shape[:2]
        if round(self.level * min(sides)) == 0:
            return (
                f"level={self.level} is less than half a pixel of images of {sides[0]}x{sides[1]}"
            )
        return None

    def corrupt(self, key: Key[Array, ""], images: Images) -> Images:
        """Return the images with a box."""
        return box(key, images, self.level, self.centre)


@register(CORRUPTIONS, "downsampling")
@dataclasses.dataclass(frozen=True)
class Downsampling:
    """Squares replaced by their means."""

    task = "upscaling"
    max_level = float("inf")

    level: Traced = traced(2.0, "Factor, a whole number.", at_least=2.0)

    def problem(self) -> str | None:
        """Return what is wrong with the factor; None if nothing is."""
        if self.level != round(self.level):
            return f"level={self.level} must be a whole factor of at least 2"
        return None

    def levels_around(self, image_shape: ImageShape) -> list[float]:
        """Return all factors that divide the image, from 1 (none) to twice this one."""
        factors = [float(factor) for factor in range(1, round(2 * float(self.level)) + 1)]
        return [f for f in factors if Downsampling(f).unfit(image_shape) is None]

    def unfit(self, image_shape: ImageShape) -> str | None:
        """Return why the factor does not fit such images; None if it does."""
        sides = image_shape[:2]
        if any(side % self.level for side in sides):
            return f"level={self.level} must divide the {sides[0]}x{sides[1]} pixels of the images"
        return None

    def corrupt(self, key: Key[Array, ""], images: Images) -> Images:
        """Return the images at a lower resolution."""
        return downsampling(key, images, self.level)


@register(CORRUPTIONS, "blur")
@dataclasses.dataclass(frozen=True)
class Blur:
    """Blur by a normal density."""

    task = "deblurring"
    max_level = float("inf")

    level: Traced = traced(2.0, "Standard deviation in pixels.", above=0.0)

    def corrupt(self, key: Key[Array, ""], images: Images) -> Images:
        """Return the images blurred."""
        return blur(key, images, self.level)
