"""What every source of data returns."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# (split, start, stop) for each term of a split expression, as `splits.parse` returns it.
Ranges = Sequence[tuple[str, int, int]]


class Dataset(NamedTuple):
    """Images and, where the source has them, their classes.

    Attributes:
        images: [num_examples, height, width, channels]; uint8 in 0..255, or float32 as stored.
        labels: [num_examples], int32; None where the source has no labels.
    """

    images: np.ndarray
    labels: np.ndarray | None


def concatenate(parts: Sequence[Dataset]) -> Dataset:
    """Returns the examples of all parts in order. One part is returned as it is, not copied."""
    if len(parts) == 1:
        return parts[0]
    labels = [part.labels for part in parts if part.labels is not None]
    return Dataset(
        images=np.concatenate([part.images for part in parts]),
        # One part without labels leaves the whole without: a made-up label would be worse.
        labels=np.concatenate(labels) if len(labels) == len(parts) else None,
    )
