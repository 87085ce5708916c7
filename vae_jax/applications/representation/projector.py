"""Codes, classes and images as files for TensorBoard's projector.

tensorboardX's `add_embedding` is not used: it appends to projector_config.pbtxt at each call
instead of replacing it, and takes square images only.
"""

import io
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num

from vae_jax.errors import UserError
from vae_jax.workdir import make_folder, write_atomically

# Pixels per side of the image that holds all images: browsers take no larger texture.
LARGEST_SPRITE = 8192

_FOLDER = "projector"


def most_images(image_shape: tuple[int, int, int]) -> int:
    """Return the number of images of this shape that fit into the sprite."""
    return (LARGEST_SPRITE // max(image_shape[:2])) ** 2


def write(
    folder: Path,
    codes: Float[np.ndarray, "n codes"],
    labels: Num[np.ndarray, " n"] | None,
    images: Float[np.ndarray, "n height width channels"],
) -> None:
    """Write projector_config.pbtxt, tensors.tsv, metadata.tsv and sprite.png.

    Args:
      folder: TensorBoard's --logdir, or a run inside it.
      codes: one row per example.
      labels: their classes; None writes no metadata.tsv.
      images: with one or three channels, in [0, 1].

    Raises:
      UserError: the images do not fit into the sprite, or a file cannot be written.
    """
    num, height, width, _ = images.shape
    most = most_images((height, width, 1))
    if num > most:
        raise UserError(
            f"{num} images of {height}x{width} pixels do not fit into the projector's sprite of "
            f"{LARGEST_SPRITE}x{LARGEST_SPRITE}; use at most {most}"
        )
    target = folder / _FOLDER
    make_folder(target)
    rows = ("\t".join(f"{value:.6g}" for value in row) for row in codes)
    write_atomically(target / "tensors.tsv", "".join(row + "\n" for row in rows))
    if labels is not None:
        # A single column has no heading.
        write_atomically(target / "metadata.tsv", "".join(f"{label}\n" for label in labels))
    write_atomically(target / "sprite.png", _png(_sprite(images)))
    write_atomically(folder / "projector_config.pbtxt", _config(labels is not None, height, width))


def _config(has_labels: bool, height: int, width: int) -> str:
    metadata = f'  metadata_path: "{_FOLDER}/metadata.tsv"\n' if has_labels else ""
    return (
        "embeddings {\n"
        '  tensor_name: "codes"\n'
        f'  tensor_path: "{_FOLDER}/tensors.tsv"\n'
        f"{metadata}"
        "  sprite {\n"
        f'    image_path: "{_FOLDER}/sprite.png"\n'
        f"    single_image_dim: {width}\n"
        f"    single_image_dim: {height}\n"
        "  }\n"
        "}\n"
    )


def _sprite(images: np.ndarray) -> np.ndarray:
    """Return a square grid of all images in reading order, filled up with black."""
    num, height, width, channels = images.shape
    side = math.ceil(math.sqrt(num))
    cells = np.zeros((side * side, height, width, channels), np.uint8)
    cells[:num] = np.rint(images.clip(0, 1) * 255)
    grid = cells.reshape(side, side, height, width, channels).swapaxes(1, 2)
    return grid.reshape(side * height, side * width, channels)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()
