"""Images as the page draws them, and drawn or uploaded pictures as images of a model's shape."""

import base64
import binascii
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt

from vae_jax.errors import UserError
from vae_jax.plots.style import CLASS_COLOURS

# Bytes and pixels per side of an uploaded file, at most.
MOST_BYTES = 8 * 2**20
_MOST_PIXELS = 4096

# A stroke's width as a share of the shorter side, about that of MNIST's digits.
_STROKE = 0.09
# Strokes are drawn this many times larger, then averaged.
_OVERSAMPLING = 8


def grey_or_colour(images: Float[np.ndarray, "*batch channels"]) -> UInt[np.ndarray, "*batch 3"]:
    """Return images as 8-bit red, green and blue; the mean of neither one nor three channels."""
    if images.shape[-1] not in (1, 3):
        images = images.mean(axis=-1, keepdims=True)
    # Corrupted images leave the unit interval.
    eight_bit = np.rint(np.nan_to_num(images).clip(0, 1) * 255).astype(np.uint8)
    return np.broadcast_to(eight_bit, (*images.shape[:-1], 3))


def rgba(image: Float[np.ndarray, "height width channels"]) -> UInt[np.ndarray, "height width"]:
    """Return an image as Bokeh draws it: 32 bits per pixel, the lowest row first."""
    pixels = np.full((*image.shape[:2], 4), 255, np.uint8)
    pixels[..., :3] = grey_or_colour(image)
    return pixels.view(np.uint32)[::-1, :, 0]


def class_colours(labels: np.ndarray | None) -> dict[Any, str]:
    """Return a colour per class of some labels; none where there are more classes than colours."""
    classes = [] if labels is None else np.unique(labels).tolist()
    if len(classes) > len(CLASS_COLOURS):
        return {}
    return dict(zip(classes, CLASS_COLOURS, strict=False))


def mosaic(
    images: Float[np.ndarray, "n height width channels"], columns: int, ground: float = 1.0
) -> Float[np.ndarray, "all_height all_width channels"]:
    """Return images in rows of `columns`, in reading order; `ground` fills the last row up."""
    num, height, width, channels = images.shape
    rows = -(-num // columns)
    cells = np.full((rows * columns, height, width, channels), ground, np.float32)
    cells[:num] = images
    grid = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, channels)


def strokes(
    xs: Sequence[Sequence[Any]], ys: Sequence[Sequence[Any]], shape: tuple[int, int, int]
) -> Float[np.ndarray, "height width channels"]:
    """Return drawn strokes as an image, white on black.

    Args:
      xs: from the left, in pixels of the image, one list per stroke.
      ys: from the bottom.
      shape: height, width, channels.
    """
    from PIL import Image, ImageDraw

    height, width, channels = shape
    size = width * _OVERSAMPLING, height * _OVERSAMPLING
    canvas = Image.new("L", size)
    draw = ImageDraw.Draw(canvas)
    thickness = max(1, round(_STROKE * min(size)))
    radius = thickness / 2
    for across, up in zip(xs, ys, strict=True):
        line = [
            (x * _OVERSAMPLING, (height - y) * _OVERSAMPLING)
            for x, y in zip(across, up, strict=True)
        ]
        if len(line) > 1:
            draw.line(line, fill=255, width=thickness, joint="curve")
        # Round ends, and a stroke of a single point.
        for x, y in line:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    grey = np.asarray(canvas.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    return np.repeat(grey[..., None], channels, axis=-1)


def uploaded(
    content: str, shape: tuple[int, int, int], *, inverted: bool
) -> Float[np.ndarray, "height width channels"]:
    """Return an uploaded picture as an image, scaled to fit into the middle.

    Args:
      content: the file, in base 64.
      shape: height, width, channels.
      inverted: whether black and white are exchanged, for ink on paper.

    Raises:
      UserError: it is no picture that can be read, or too large.
    """
    from PIL import Image, ImageOps

    height, width, channels = shape
    if len(content) > MOST_BYTES * 4 // 3:
        raise UserError(f"the picture has more than {MOST_BYTES // 2**20} MB; use a smaller one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(base64.b64decode(content)))
        if max(picture.size) > _MOST_PIXELS:
            raise UserError(
                f"the picture has {picture.width}x{picture.height} pixels; use at most "
                f"{_MOST_PIXELS} per side"
            )
        colour = ImageOps.exif_transpose(picture).convert("RGBA")
        # What is transparent has the colour of paper, or of the ground.
        ground = Image.new("RGBA", colour.size, "white" if inverted else "black")
        flat = Image.alpha_composite(ground, colour).convert("RGB" if channels == 3 else "L")
    except (
        OSError,
        ValueError,
        SyntaxError,
        binascii.Error,
        Warning,
        Image.DecompressionBombError,
    ):
        raise UserError("the file is no picture that can be read; use PNG or JPEG") from None
    flat = ImageOps.invert(flat) if inverted else flat
    fitted = ImageOps.pad(flat, (width, height), Image.Resampling.LANCZOS, color="black")
    array = np.asarray(fitted, np.float32).reshape(height, width, -1) / 255
    return np.repeat(array, channels, axis=-1) if array.shape[-1] != channels else array
