"""A page in a single file: a grid of decoded latents that needs no server and no network."""

import base64
import io
import json
import math
import string
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vae_jax.applications.explorer import pictures
from vae_jax.applications.explorer.explored import Explored
from vae_jax.errors import UserError
from vae_jax.plots.style import ACCENT
from vae_jax.workdir import write_atomically

SUFFIX = ".html"
# Bytes of the decoded images before they are compressed, so that a file of noise has under 3 MB.
_MOST_BYTES = 1_500_000
_LARGEST_GRID, _SMALLEST_GRID = 25, 7
# Latents shown: beyond, a standard prior has little.
_MOST_POINTS = 1000


def require_suffix(path: Path) -> None:
    """Refuse a path with another suffix, or in no folder.

    Raises:
      UserError: it does not end in .html, or its folder does not exist.
    """
    if path.suffix != SUFFIX:
        raise UserError(f"--export={path} must end in {SUFFIX}")
    if not path.parent.is_dir():
        raise UserError(f"--export={path}: there is no folder {path.parent}; make it first")


def grid_size(image_shape: tuple[int, int, int]) -> int:
    """Return the number of images per side of the grid, odd, so that one lies in the middle."""
    most = math.isqrt(_MOST_BYTES // (image_shape[0] * image_shape[1] * 3))
    return min(max(most - (most + 1) % 2, _SMALLEST_GRID), _LARGEST_GRID)


def decoded_grid(
    explored: Explored,
) -> tuple[Float[np.ndarray, "size size height width channels"], np.ndarray, np.ndarray]:
    """Return images over the two most important latents, and the values of both.

    The other latents are at the centre. With a single latent all rows are equal.

    Returns:
      images: rows by the second latent, upwards; columns by the first.
      across: the values of the first latent.
      up: the values of the second.
    """
    size, axes = grid_size(explored.model.image_shape), leading(explored)
    low, high = explored.ranges
    across = np.linspace(low[axes[0]], high[axes[0]], size)
    up = np.linspace(low[axes[-1]], high[axes[-1]], size)
    latents = np.tile(explored.centre, (size, size, 1))
    if len(axes) > 1:
        latents[..., axes[1]] = up[:, None]
    latents[..., axes[0]] = across
    images = explored.model.decode(latents.reshape(-1, latents.shape[-1]))
    return images.reshape(size, size, *explored.model.image_shape), across, up


def leading(explored: Explored) -> list[int]:
    """Return the indices of the latents of the grid: both of two, or the two most important."""
    if explored.model.latent_size <= 2:
        return list(range(explored.model.latent_size))
    return [int(index) for index in explored.order[:2]]


def render(explored: Explored) -> str:
    """Return the page of a run as HTML."""
    images, across, up = decoded_grid(explored)
    size, (height, width, _) = len(images), explored.model.image_shape
    sheet = pictures.mosaic(images.reshape(-1, *images.shape[2:]), size)
    # The browser scales the images; a large one is stored smaller.
    scale = min(1.0, math.sqrt(_MOST_BYTES / (3 * size**2 * height * width)))
    small = max(1, round(height * scale)), max(1, round(width * scale))
    axes = leading(explored)
    latents = explored.latents[:_MOST_POINTS]
    labels = explored.examples.labels
    colours = pictures.class_colours(labels)
    content = {
        "size": size,
        "height": small[0],
        "width": small[1],
        "names": [f"z{index}" for index in axes],
        "low": [float(across[0]), float(up[0])],
        "high": [float(across[-1]), float(up[-1])],
        "start": [float(explored.centre[index]) for index in (axes[0], axes[-1])],
        "points": np.round(latents[:, [axes[0], axes[-1]]], 2).tolist(),
        "colours": [
            colours.get(label, ACCENT)
            for label in (
                [None] * len(latents) if labels is None else labels[: len(latents)].tolist()
            )
        ],
        "classes": [[f"{label:g}", colour] for label, colour in colours.items()],
        "sheet": "data:image/png;base64," + _png(sheet, small[0] * size, small[1] * size),
    }
    unit = "nats" if explored.in_nats else "variance"
    measured = ", ".join(f"z{index} {explored.importance[index]:.2g} {unit}" for index in axes)
    rest = explored.model.latent_size - len(axes)
    others = f"; the other {rest} stay at the centre" if rest else ""
    template = string.Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(explored.folder.resolve().name),
        about=escape(f"model {explored.model.name}, data {explored.data_name}; {measured}{others}"),
        # No text in it ends the script.
        content=json.dumps(content, separators=(",", ":")).replace("</", "<\\/"),
    )


def write(explored: Explored, path: Path) -> None:
    """Write the page of a run to an .html file, all or nothing.

    Raises:
      UserError: the suffix is another, or the file cannot be written.
    """
    require_suffix(path)
    write_atomically(path, render(explored))


def _png(image: Float[np.ndarray, "height width channels"], height: int, width: int) -> str:
    from PIL import Image

    pixels = pictures.grey_or_colour(image)
    is_grey = image.shape[-1] != 3
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if is_grey else pixels))
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
