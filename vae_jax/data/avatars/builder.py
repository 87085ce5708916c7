"""Writes drawn faces as a TFDS data set."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int

from vae_jax.data import prepared, tfds_writing
from vae_jax.data.avatars import rendering
from vae_jax.data.avatars.faces import FACTORS, LABEL, SIZES, draw_factors
from vae_jax.data.tfds_writing import Description, Prepared
from vae_jax.errors import UserError

if TYPE_CHECKING:
    from tqdm import tqdm

NAME = "avatars"
VERSION = "1.0.0"

DEFAULT_IMAGE_SIZE = 64
# In smaller images eyes and mouths are a few pixels; drawings of lines gain nothing in larger ones.
_IMAGE_SIZES = (32, 256)

# SHA-256 of the digests of all faces at 64x64, training faces first, and of the first training
# faces, which is checked before many are rendered, and for other sizes and numbers of faces alone.
# The versions are those in `rendering`.
_DIGEST = "f85a72c55c3d789e9c8da28f3a75fd05ba0bd60db91581b31bfda3c240375a95"
_NUM_FIRST = 16
_DIGEST_OF_FIRST = "855a827b81cefee6006e76dfa71f56cdb398f53e17931b24f2da256a148213c3"


class _Face(NamedTuple):
    """A rendered face.

    Attributes:
        png: its image.
        digest: SHA-256 of its pixels, then its factors as little-endian int32.
    """

    png: bytes
    digest: bytes


def sizes(num_examples: int) -> dict[str, int]:
    """Return the number of faces in each split.

    Args:
        num_examples: training faces, 0 for all; a tenth as many, at least one, are in each other
            split.

    Raises:
        UserError: the number is out of range.
    """
    if not 0 <= num_examples <= SIZES["train"]:
        raise UserError(
            f"num_examples={num_examples} must be from 1 to {SIZES['train']}, or 0 for all"
        )
    if not num_examples:
        return dict(SIZES)
    return {split: max(1, num_examples * size // SIZES["train"]) for split, size in SIZES.items()}


def prepare(
    image_size: int, num_examples: int, data_dir: str, progress: Callable[[int], "tqdm"]
) -> Prepared:
    """Write faces with the features `image`, `label` (see `faces.LABEL`) and `label_<factor>`.

    Their name is `avatars`; with another image size or a number of examples it is such as
    `avatars/32x32` or `avatars/64x64_first_1000`.

    Pixels that differ from those of the recorded versions are written after a warning, which is
    kept with them and logged whenever they are read. The metadata have the SHA-256 of the faces.

    Args:
        image_size: height and width; 0 is 64.
        num_examples: the first training faces, 0 for all; see `sizes`.
        data_dir: where to write; "" is TFDS's default.
        progress: returns a bar, given the number of faces.

    Raises:
        UserError: the image size or the number is out of range, or a package that renders is not
            installed; otherwise as `tfds_writing.prepare_once`.
    """
    low, high = _IMAGE_SIZES
    if image_size and not low <= image_size <= high:
        raise UserError(
            f"image_size={image_size} must be from {low} to {high} for avatars, or 0 for "
            f"{DEFAULT_IMAGE_SIZE}"
        )
    image_size = image_size or DEFAULT_IMAGE_SIZE
    num_by_split = sizes(num_examples)
    is_whole = num_by_split == SIZES
    part = "" if is_whole else f"_first_{num_examples}"
    is_default = is_whole and image_size == DEFAULT_IMAGE_SIZE
    described = Description(
        name=NAME,
        config="" if is_default else f"{image_size}x{image_size}{part}",
        version=VERSION,
        text="Faces drawn by python_avatars (MIT licence) and rendered by resvg, with the factors "
        "and the order of vae_jax.",
        homepage="https://github.com/ibonn/python_avatars",
        citation="python_avatars by Ibon Escartin; avatars designed by Pablo Stanley",
    )

    def write_into(root: Path) -> None:
        rendering.import_packages()
        rows = {split: draw_factors(split)[:num] for split, num in num_by_split.items()}
        warning = _warning_of_first()
        if warning:
            # Before minutes of rendering.
            logging.warning(warning)
        digest, num_faces = hashlib.sha256(), sum(num_by_split.values())

        def metadata() -> dict[str, str]:
            found = digest.hexdigest()
            of_all = warning or (_warning("the faces", found, _DIGEST) if is_default else "")
            return {"sha256": found} | ({prepared.WARNING: of_all} if of_all else {})

        with progress(num_faces) as bar:
            splits = {
                split: _examples(of_split, image_size, digest.update, bar.update)
                for split, of_split in rows.items()
            }
            tfds_writing.write(root, described, _features(image_size), splits, metadata)

    return tfds_writing.prepare_once(described, data_dir, write_into)


def _warning_of_first() -> str:
    """Return a warning if the packages render other pixels than the recorded versions do."""
    rows = draw_factors("train")[:_NUM_FIRST]
    digests = [_render(row, DEFAULT_IMAGE_SIZE).digest for row in rows]
    digest = hashlib.sha256(b"".join(digests))
    return _warning("the first faces", digest.hexdigest(), _DIGEST_OF_FIRST)


def _warning(faces: str, digest: str, recorded: str) -> str:
    """Return a line on other pixels than the recorded ones; empty if they are the same."""
    if digest == recorded:
        return ""
    there, known = (
        " and ".join(f"{name} {version}" for name, version in versions.items())
        for versions in (rendering.installed_versions(), rendering.VERSIONS)
    )
    return (
        f"{faces} rendered by {there} have other pixels than by {known}; results on them can be "
        f"compared only with each other (SHA-256 {digest})"
    )


def _render(values: Int[np.ndarray, " factors"], image_size: int) -> _Face:
    pixels = rendering.render(values, image_size)
    content = pixels.tobytes() + values.astype("<i4").tobytes()
    return _Face(tfds_writing.encode_png(pixels), hashlib.sha256(content).digest())


def _features(image_size: int) -> dict[str, Any]:
    tfds = prepared.import_tfds()
    names = {"label": LABEL} | {f"label_{name}": name for name in FACTORS}
    return {"image": tfds.features.Image(shape=(image_size, image_size, 3))} | {
        feature: tfds.features.ClassLabel(names=FACTORS[name].values)
        for feature, name in names.items()
    }


def _examples(
    rows: Int[np.ndarray, "num factors"],
    image_size: int,
    on_digest: Callable[[bytes], object],
    on_rendered: Callable[[], object],
) -> Iterator[dict[str, Any]]:
    for row in rows:
        face = _render(row, image_size)
        on_digest(face.digest)
        on_rendered()
        values = dict(zip(FACTORS, row.tolist(), strict=True))
        labels = {f"label_{name}": value for name, value in values.items()}
        yield {"image": face.png, "label": values[LABEL], **labels}
