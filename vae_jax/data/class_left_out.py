"""A data set of which one class is left out, to see whether it is found to be of another kind."""

from collections.abc import Mapping

import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.errors import UserError

# The split that holds what was left out of the test set.
OUTLIERS = "outliers"


def leave_out(splits: Mapping[str, Dataset], label: int) -> dict[str, np.ndarray]:
    """The arrays of an .npz file (see `arrays`) without a class, whose test images are `outliers`.

    Args:
        splits: the data set; one of its splits is `test`.
        label: the class.

    Returns:
        `<split>_images` and `<split>_labels`, in the order that they had.

    Raises:
        UserError: a split has no labels, none of this one, or no others.
    """
    arrays: dict[str, np.ndarray] = {}
    for split, dataset in splits.items():
        if dataset.labels is None:
            raise UserError(f"the split {split!r} has no labels to leave one out by")
        left_out = dataset.labels == label
        if left_out.all() or not left_out.any():
            there = ", ".join(map(str, np.unique(dataset.labels)))
            raise UserError(f"label {label} cannot be left out of {split!r}, which has {there}")
        kept = {split: ~left_out} | ({OUTLIERS: left_out} if split == "test" else {})
        for name, chosen in kept.items():
            arrays[f"{name}_images"] = dataset.images[chosen]
            arrays[f"{name}_labels"] = dataset.labels[chosen]
    return arrays
