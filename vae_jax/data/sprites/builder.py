"""Writes rendered sprites as a TFDS data set, for other programs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data import prepared, tfds_writing
from vae_jax.data.sprites import dataset as sprites
from vae_jax.data.sprites.variants import SHAPES
from vae_jax.data.tfds_writing import Description, Prepared
from vae_jax.errors import UserError

VERSION = "1.0.0"

_IMAGES_AT_ONCE = 1024


def prepare(name: str, image_size: int, num_examples: int, data_dir: str) -> Prepared:
    """Write sprites with the features `image` and, for each factor, `label_<factor>`.

    Their name is `name/64x64`, or `name/64x64_first_1000` with a number of examples; `name` alone
    means rendered sprites.

    Args:
        name: a key of `sprites.VARIANTS`.
        image_size: height and width; 0 is the default.
        num_examples: write only the first examples, in the order of `sprites`; 0 writes all.
        data_dir: where to write; "" is TFDS's default.

    Raises:
        UserError: the image size or the number is out of range; otherwise as
            `tfds_writing.prepare_once`.
    """
    size, most = sprites.resolve_image_size(image_size), sprites.sizes(name)["train"]
    if not 0 <= num_examples <= most:
        raise UserError(f"num_examples={num_examples} must be from 1 to {most}, or 0 for all")
    part = f"_first_{num_examples}" if num_examples else ""
    described = Description(
        name=name,
        config=f"{size}x{size}{part}",
        version=VERSION,
        text=f"{name}, rendered by vae_jax, in its fixed order.",
    )
    dataset = sprites.SpritesDataset(name, [("train", 0, num_examples or most)], size)
    return tfds_writing.prepare_once(
        described, data_dir, lambda root: _write(root, described, dataset)
    )


def _write(root: Path, described: Description, dataset: sprites.SpritesDataset) -> None:
    tfds = prepared.import_tfds()
    variant = dataset.variant
    features = {
        "image": tfds.features.Image(shape=dataset.shape[1:]),
        "label_shape": tfds.features.ClassLabel(names=SHAPES),
    }
    for name, size in zip(variant.names[1:], variant.sizes[1:], strict=True):
        features[f"label_{name}"] = tfds.features.ClassLabel(num_classes=size)
    tfds_writing.write(root, described, features, {"train": _examples(dataset)})


def _examples(dataset: sprites.SpritesDataset) -> Iterator[dict[str, Any]]:
    names = [f"label_{name}" for name in dataset.variant.names]
    num_examples = dataset.shape[0]
    for first in range(0, num_examples, _IMAGES_AT_ONCE):
        part = dataset.read(np.arange(first, min(first + _IMAGES_AT_ONCE, num_examples)))
        assert part.factors is not None
        for image, values in zip(part.images, part.factors.values.tolist(), strict=True):
            pixels = image[..., 0] if image.shape[2] == 1 else image
            yield {
                "image": tfds_writing.encode_png(pixels),
                **dict(zip(names, values, strict=True)),
            }
