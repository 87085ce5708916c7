"""Arrays of images in a user's .npy or .npz file. Nothing is unpickled."""

import io
from pathlib import Path

import numpy as np

from vae_jax.data.image_shapes import advice
from vae_jax.errors import UserError, numpy_file_errors
from vae_jax.workdir import write_atomically

_SUFFIXES = (".npy", ".npz")


def read(path: Path) -> np.ndarray:
    """Return the array of a .npy file, or `images` of an .npz file that holds nothing else.

    Raises:
      UserError: it is missing, damaged, or holds something else.
    """
    require_suffix(path)
    with numpy_file_errors(path, f"{path} does not exist"), open(path, "rb") as file:
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        if content.files != ["images"]:
            raise UserError(f"{path} holds {sorted(content.files)}; it must hold 'images' only")
        return np.asarray(content["images"])


def write(path: Path, images: np.ndarray) -> None:
    """Write a .npy or .npz file of images; a kill leaves the old or the new file intact.

    Raises:
      UserError: the suffix is neither .npy nor .npz, or the file cannot be written.
    """
    require_suffix(path)
    content = io.BytesIO()
    if path.suffix == ".npy":
        np.save(content, images, allow_pickle=False)
    else:
        np.savez_compressed(content, images=images)
    write_atomically(path, content.getvalue())


def with_channels(images: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Return images as `[num, height, width, channels]`; an axis of one channel may be missing.

    Raises:
      UserError: they have another shape, or there are none.
    """
    without_channels = image_shape[:2] if image_shape[2] == 1 else image_shape
    if images.size == 0 or images.shape[1:] not in (image_shape, without_channels):
        raise UserError(
            f"the images have shape {list(images.shape)}; this model takes [num, "
            f"{', '.join(map(str, image_shape))}] with num at least 1{advice(images.shape)}"
        )
    return images.reshape(-1, *image_shape)


def require_suffix(path: Path) -> None:
    """Refuse a path with another suffix.

    Raises:
      UserError: it ends in neither .npy nor .npz.
    """
    if path.suffix not in _SUFFIXES:
        raise UserError(f"{path} must end in {' or '.join(_SUFFIXES)}")
