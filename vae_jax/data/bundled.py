"""MNIST as bundled with this package, in `vae_jax/data/mnist`."""

import functools
from pathlib import Path

import numpy as np

from vae_jax.data import idx
from vae_jax.data.dataset import Dataset, Ranges, concatenate

NAMES = ("mnist",)

_FOLDER = Path(__file__).parent / "mnist"


def sizes() -> dict[str, int]:
    """Return the number of examples in each split of MNIST, without reading it."""
    return {"train": 60_000, "test": 10_000}


def read(ranges: Ranges) -> Dataset:
    """Read images [num_examples, 28, 28, 1] (uint8) and their labels, in the published order.

    Raises:
        UserError: a bundled file is missing, damaged or was changed.
    """
    splits = {name: _read_split(_FOLDER, name) for name, _, _ in ranges}
    parts = []
    for name, start, stop in ranges:
        images, labels = splits[name]
        parts.append(Dataset(images[start:stop], labels[start:stop]))
    return concatenate(parts)


# The slices of a run's training and validation sets are views of one array, unzipped once.
@functools.cache
def _read_split(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the read-only images and labels of a whole split."""
    images, labels = (
        idx.read_idx(folder / f"{file}.gz", sha256=idx.SHA256["mnist"][file])
        for file in idx.FILES[name]
    )
    labels = labels.astype(np.int32)
    labels.flags.writeable = False
    return images[..., np.newaxis], labels
