"""Decoding of one image file."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL import Image

# Other modes, such as CMYK or a palette, are turned into RGB.
_GREY_MODES = ("1", "L", "LA", "La")
# As many as Pillow reads without a warning.
_MOST_PIXELS = 89_478_485
_CHANNEL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def decode(
    file: str | Path | io.BytesIO,
    num_channels: int | None = None,
    image_size: int = 0,
    white: int = 255,
    *,
    as_shown: bool = False,
) -> UInt8[np.ndarray, "height width channels"]:
    """Decode a png, jpeg, bmp, gif, webp or tiff file with Pillow; only its first frame.

    Args:
        file: a path or the file's bytes.
        num_channels: 1, 3 or 4; None means 1 for a grey image and 3, without opacity, for others.
        image_size: height and width that the central square is resized to, antialiased; 0 keeps the
            image as it is.
        white: the file's value of white, which becomes 255.
        as_shown: turn the image as its EXIF orientation says, and blend what is transparent with
            white, as viewers do; otherwise pixels are as they are stored.

    Returns:
        uint8, [height, width, channels].

    Raises:
        ValueError: what is wrong with the image, in one line without its name.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            image: Image.Image = opened
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(
                    f"has {image.width}x{image.height} pixels; at most {_MOST_PIXELS:,} are read"
                )
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                raise ValueError(f"has more than 8 bits a channel (mode {image.mode}); use 8")
            if as_shown:
                image = _turned(image)
                image = _on_white(image)
            if image.mode == "P":
                # Converted directly to RGB, palettes with transparency make Pillow warn.
                image = image.convert("RGBA")
            if num_channels is None:
                mode = "L" if image.mode in _GREY_MODES else "RGB"
            else:
                mode = _CHANNEL_MODES[num_channels]
            image = image if image.mode == mode else image.convert(mode)
            if white != 255:
                image = image.point(lambda value: min(255, value * 255 // white))
            if image_size:
                image = _resize_central_square(image, image_size)
            pixels = np.asarray(image)
    except UnidentifiedImageError:
        raise ValueError("cannot be decoded: it is no image of a known format") from None
    except ValueError as error:
        raise ValueError(_one_line(error)) from None
    # Damaged files raise exceptions of many types: OSError, SyntaxError, struct.error ...
    except Exception as error:
        raise ValueError(f"cannot be decoded: {_one_line(error)}") from None
    return pixels.reshape(*pixels.shape[:2], -1)


def is_colour(file: Path) -> bool:
    """Return whether an image file is in colour, from its header; False if it cannot be read."""
    from PIL import Image

    # Damaged files raise exceptions of many types, and are reported where they are decoded.
    try:
        with Image.open(file) as image:
            return image.mode not in _GREY_MODES
    except Exception:
        return False


def _turned(image: "Image.Image") -> "Image.Image":
    from PIL import ImageOps

    # Orientation that cannot be read is none, as for viewers.
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _on_white(image: "Image.Image") -> "Image.Image":
    """Return an image without transparency, grey if it was; an opaque one keeps its pixels."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    opaque_mode = "L" if image.mode in _GREY_MODES else "RGB"
    with_opacity = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, with_opacity).convert(opaque_mode)


def _resize_central_square(image: "Image.Image", size: int) -> "Image.Image":
    from PIL import Image

    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Not by resize's argument `box`, which uses pixels outside of the box.
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.BICUBIC)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
