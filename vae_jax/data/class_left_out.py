"""Data sets without one class, whose images are outliers to detect."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vae_jax import workdir
from vae_jax.data import sources
from vae_jax.data.dataset import Dataset
from vae_jax.errors import UserError

# The split with the test images of the left-out class.
OUTLIERS = "outliers"


def leave_out(splits: Mapping[str, Dataset], label: int) -> dict[str, np.ndarray]:
    """Return arrays for an .npz file (see `arrays`) without a class, and a split `outliers`.

    Args:
        splits: the data set by split, with a split `test`.
        label: the class.

    Returns:
        `<split>_images` and `<split>_labels`, in the original order.

    Raises:
        UserError: a split has no labels, does not have this class, or has no other.
    """
    arrays: dict[str, np.ndarray] = {}
    for split, dataset in splits.items():
        if dataset.labels is None:
            raise UserError(f"the split {split!r} has no labels, so that no class can be left out")
        left_out = dataset.labels == label
        if left_out.all() or not left_out.any():
            known = ", ".join(map(str, np.unique(dataset.labels)))
            raise UserError(f"label {label} cannot be left out of {split!r}, which has {known}")
        kept = {split: ~left_out} | ({OUTLIERS: left_out} if split == "test" else {})
        for name, chosen in kept.items():
            arrays[f"{name}_images"] = dataset.images[chosen]
            arrays[f"{name}_labels"] = dataset.labels[chosen]
    return arrays


def npz_without(name: str, data_dir: str, label: int) -> tuple[bytes, dict[str, int]]:
    """Return the content of an .npz file of a data set without a class.

    Args:
        name: of the data set.
        data_dir: folder of prepared data sets.
        label: the class.

    Returns:
        The content, and the number of examples by split.

    Raises:
        UserError: there is no such data set, or `label` cannot be left out of it.
    """
    splits = sources.split_sizes(name, data_dir)
    loaded = {split: sources.load(name, split, data_dir) for split in splits}
    arrays = leave_out(loaded, label)
    content = io.BytesIO()
    # mypy thinks that the arrays may be the option `allow_pickle`.
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    suffix = "_labels"
    return content.getvalue(), {
        key.removesuffix(suffix): len(arrays[key]) for key in arrays if key.endswith(suffix)
    }


def write_npz(name: str, data_dir: str, label: int) -> tuple[Path, dict[str, int]]:
    """Write a data set without a class as `<name>_without_<label>.npz` into `data_dir`.

    Args and Raises are those of `npz_without`; "" is the current folder.

    Returns:
        The file, and the number of examples by split.
    """
    content, sizes = npz_without(name, data_dir, label)
    folder = Path(data_dir or ".")
    workdir.make_folder(folder)
    path = folder / f"{name}_without_{label}.npz"
    workdir.write_atomically(path, content)
    return path, sizes
