"""Pixels of sprites from their factors: a pure function, for use in a training step or alone.

A sprite of radius r is at the origin of coordinates (u, v) that rotate with it, v upwards:

    square   max(|u|, |v|) <= r / sqrt(2)
    ellipse  u^2 + 4 v^2 <= r^2
    heart    18 u^2 - 24 |u| w + 16 w^2 <= 7 r^2,  w = v + 0.2807 r,

where the heart is half an ellipse and its mirror image, with the centroid at the origin. None
extends beyond 1.005 r, so that all are inside of the image; the areas are 2 r^2, pi/2 r^2 and
7 pi/12 r^2.

Pixels are computed in integers, except one quotient of two integers: compilers differ in how they
round sums of floating-point products, and the same factors must give the same bits in every
program.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from vae_jax.data.sprites.variants import SHAPES, Variant

# The side of an image in units of length.
_SIDE = 2048
# One, for sines and cosines.
_ONE_BITS = 14

# By shape, from the equations above: the factors of u^2, |u| w, w^2 and r^2, and 1024 (w - v) / r.
_QUADRATICS = np.array([(0, 0, 0, 0, 0), (1, 0, 4, 1, 0), (18, 24, 16, 7, 287)], np.int32)


def render(
    factors: Float[Array, "num factors"] | Int[Array, "num factors"] | UInt8[Array, "num factors"],
    variant: Variant,
    image_size: int,
) -> UInt8[Array, "num image_size image_size channels"]:
    """Draw sprites.

    Args:
        factors: of each image, in the order of `variant.names`, as positions in the grid: 2.5 is
            halfway between the third value and the fourth. Shapes are whole.
        variant: defines the look of images.
        image_size: height and width.

    Returns:
        8 bits per pixel: 0 or 255, or the share of the pixel that the sprite covers, or a colour.
    """
    factors = factors.astype(jnp.float32)
    inside, steepness = _edge(factors, image_size)
    if not variant.smooth:
        return jnp.where(inside >= 0, jnp.uint8(255), jnp.uint8(0))[..., None]
    # The distance from the edge, in grey levels; an integer again before anything is added.
    levels_a_length = np.float32(255 * image_size / _SIDE)
    distance = inside.astype(jnp.float32) / steepness.astype(jnp.float32)
    distance = jnp.floor(distance * levels_a_length)
    cover = jnp.clip(distance, -128, 127).astype(jnp.int32) + 128
    if variant.num_channels == 1:
        return cover.astype(jnp.uint8)[..., None]
    return _blend(cover, *_colors(factors[:, 5], factors[:, 6]))


def render_apart(
    factors: Float[Array, "num factors"] | UInt8[Array, "num factors"],
    variant: Variant,
    image_size: int,
) -> UInt8[Array, "num image_size image_size channels"]:
    """Return `render` for use in a larger program, with its images materialised like stored ones.

    XLA would otherwise fuse it with each use of the images: pixels would be computed several times,
    and the results be rounded differently from those on stored images.
    """

    def draw(factors: Array) -> Array:
        return render(factors, variant, image_size)

    def leave_blank(factors: Array) -> Array:
        shape = (len(factors), image_size, image_size, variant.num_channels)
        return jnp.zeros(shape, jnp.uint8)

    # XLA does not fuse branches with what follows, and cannot know that this one is always taken.
    return jax.lax.cond(factors[0, 0] < 255, draw, leave_blank, factors)


@functools.partial(jax.jit, static_argnames=("variant", "image_size"))
def render_compiled(
    factors: UInt8[Array, "num factors"] | UInt8[np.ndarray, "num factors"],
    variant: Variant,
    image_size: int,
) -> UInt8[Array, "num image_size image_size channels"]:
    """Return `render`, compiled as a program of its own."""
    return render(jnp.asarray(factors), variant, image_size)


def draw_within_cells(
    key: Key[Array, ""], rows: UInt8[Array, "num factors"], variant: Variant
) -> Float[Array, "num factors"]:
    """Move every factor but the shape to a uniform position in its cell of the grid.

    Over the whole grid, the factors then cover their ranges evenly.
    """
    moves = jax.random.uniform(key, (len(rows), len(variant.names) - 1), minval=-0.5, maxval=0.5)
    return rows.astype(jnp.float32) + jnp.pad(moves, ((0, 0), (1, 0)))


def _edge(
    factors: Float[Array, "num factors"], image_size: int
) -> tuple[Int[Array, "num rows columns"], Int[Array, "num rows columns"]]:
    """Return a function that is positive inside the sprite, and its slope, at each pixel.

    Near the edge, their quotient is the distance from it in units of length.
    """
    # One value per image, [num, 1, 1].
    shape, scale, orientation, x, y = (factors[:, i, None, None] for i in range(5))
    shape = shape.astype(jnp.int32)
    # Scale 0.5, 0.6, ..., 1; positions are the centres of cells of the image's inner half.
    radius = _rounded(48 * (scale + 5))
    x, y = _rounded(32 * x) + 528, _rounded(32 * y) + 528
    angle = orientation * np.float32(2 * np.pi / 40)
    cosine, sine = (_rounded(part * 2**_ONE_BITS) for part in (jnp.cos(angle), jnp.sin(angle)))
    a, b, c, d, shift = (jnp.asarray(column)[shape] for column in _QUADRATICS.T)

    centres = (np.arange(image_size) * 2 + 1) * _SIDE // (2 * image_size)
    right, up = centres[None, None, :] - x, y - centres[None, :, None]
    u = jnp.abs(cosine * right + sine * up >> _ONE_BITS)
    w = (cosine * up - sine * right >> _ONE_BITS) + (radius * shift >> 10)
    inside = d * radius * radius - (a * u * u - b * u * w + c * w * w)
    # The length of the gradient, the larger component and 3/8 of the other, to 7 percent.
    slope_u, slope_w = jnp.abs(2 * a * u - b * w), jnp.abs(2 * c * w - b * u)
    steepness = jnp.maximum(slope_u, slope_w) + (3 * jnp.minimum(slope_u, slope_w) >> 3)
    is_square = shape == SHAPES.index("square")
    half_side = radius * 11585 >> _ONE_BITS
    inside = jnp.where(is_square, half_side - jnp.maximum(u, jnp.abs(w)), inside)
    return inside, jnp.where(is_square, 1, steepness)


def _rounded(values: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    return jnp.round(values).astype(jnp.int32)


def _colors(
    hue: Float[Array, " num"], background: Float[Array, " num"]
) -> tuple[Int[Array, "num 3"], Int[Array, " num"]]:
    """Return the sprites' saturated colours, and the darker greys behind them, in 0..255."""
    # Red, yellow, green, cyan, blue, magenta: between neighbours one channel rises or falls.
    sextant = (hue[:, None] + np.array([0, 4, 2], np.float32)) % 6
    channels = jnp.clip(jnp.abs(sextant - 3) - 1, 0, 1)
    grey = _rounded(32 * background) + 16
    return _rounded(channels * 255), grey


def _blend(
    cover: Int[Array, "num rows columns"], color: Int[Array, "num 3"], grey: Int[Array, " num"]
) -> UInt8[Array, "num rows columns 3"]:
    cover, color, grey = cover[..., None], color[:, None, None], grey[:, None, None, None]
    mixed = (255 - cover) * grey + cover * color
    return ((mixed.astype(jnp.uint32) + 127) // 255).astype(jnp.uint8)
