"""Arrays of images in a user's .npy or .npz file. Nothing is unpickled."""

import contextlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vae_jax.data.image_shapes import advice
from vae_jax.errors import UserError, numpy_file_errors
from vae_jax.workdir import written_at_once

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
    write_parts(path, [images], images.shape, images.dtype)


def write_parts(
    path: Path, parts: Iterable[np.ndarray], shape: tuple[int, ...], dtype: np.dtype
) -> None:
    """Write images part by part as `write` does, so that they need not be in memory together.

    Args:
      path: a .npy or .npz file.
      parts: consecutive images.
      shape: of all of them.
      dtype: of all of them.

    Raises:
      UserError: as `write`.
    """
    require_suffix(path)
    described = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": described, "fortran_order": False, "shape": shape}
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(written_at_once(path))
        if path.suffix == ".npz":
            archive = stack.enter_context(zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED))
            file = stack.enter_context(archive.open("images.npy", "w", force_zip64=True))
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).tobytes())


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
