"""Data sets, in memory or read on demand."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from vae_jax.data import factors as known_factors
from vae_jax.data.columns import Column
from vae_jax.data.csv_style import CsvStyle
from vae_jax.data.factors import Factors
from vae_jax.errors import UserError

# (split, start, stop) for each term of a split expression, as `splits.parse` returns it.
Ranges = Sequence[tuple[str, int, int]]

_MOST_CLASSES = 10_000

# num_examples, height, width, channels.
ImagesShape = tuple[int, int, int, int]


class Dataset(NamedTuple):
    """Images and, if the source has them, their classes and factors of variation.

    Attributes:
        images: [num_examples, height, width, channels]; uint8 in 0..255, or float32 as stored.
        labels: [num_examples], int32; None where the source has no labels.
        factors: of every example; None where the source has no factors.
        columns: of the rows of a table, `[num_examples, 1, columns, 1]` (see `columns`); None for
            images.
        conditions: numbers beside every image, [num_examples, features], float32; None where the
            source has none.
        csv_style: of the CSV file that rows were read from; None where it was another one.
    """

    images: np.ndarray
    labels: np.ndarray | None
    factors: Factors | None = None
    columns: tuple[Column, ...] | None = None
    conditions: np.ndarray | None = None
    csv_style: CsvStyle | None = None

    @property
    def shape(self) -> ImagesShape:
        """Number of examples, height, width, channels."""
        num_examples, height, width, channels = self.images.shape
        return num_examples, height, width, channels

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the images."""
        return self.images.dtype

    def read(self, indices: Int[np.ndarray, " num"]) -> "Dataset":
        """Return the examples at these indices, in their order."""
        return Dataset(
            self.images[indices],
            None if self.labels is None else self.labels[indices],
            None if self.factors is None else self.factors.read(indices),
            self.columns,
            None if self.conditions is None else self.conditions[indices],
            self.csv_style,
        )

    def labelled_by(self, factor: str) -> "Dataset":
        """Return the examples with the values of a factor as their labels.

        Raises:
            UserError: they have no such factor.
        """
        if self.factors is None:
            raise UserError(f"the data have no factors, and {factor!r} is to be one")
        return self._replace(labels=self.factors.column(factor))


@runtime_checkable
class LazyDataset(Protocol):
    """Examples that are read on demand; a `Dataset` is one in memory.

    Attributes:
        shape: number of examples, height, width, channels.
        dtype: of the images, uint8 or float32.
    """

    @property
    def shape(self) -> ImagesShape:
        """Number of examples, height, width, channels."""

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the images."""

    def read(self, indices: Int[np.ndarray, " num"]) -> Dataset:
        """Read the examples at these indices, in their order. It is thread-safe.

        Raises:
            UserError: an example is damaged or has another form than the first.
        """


def num_bytes(dataset: LazyDataset) -> int:
    """Return the bytes that the decoded images take."""
    return int(np.prod(dataset.shape, dtype=np.int64)) * dataset.dtype.itemsize


def read_all(dataset: LazyDataset) -> Dataset:
    """Return all examples in memory. A `Dataset` is returned as it is."""
    if isinstance(dataset, Dataset):
        return dataset
    return dataset.read(np.arange(dataset.shape[0]))


def count_classes(labels: Int[np.ndarray, " num"], whose: str) -> int:
    """Return the number of classes, which is one more than the largest label.

    Args:
      labels: at least one.
      whose: the labels' name, for errors.

    Raises:
      UserError: a label is negative, or so large that labels hardly number classes.
    """
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= _MOST_CLASSES:
        wrong = low if low < 0 else high
        raise UserError(
            f"{whose} hold the label {wrong}; number classes from 0 to at most {_MOST_CLASSES - 1}"
        )
    return high + 1


def evenly_spaced(num_examples: int, most: int) -> Int[np.ndarray, " num"]:
    """Return evenly spaced indices of at most `most` examples."""
    num = min(num_examples, most)
    return np.arange(num) * num_examples // num


def concatenate(parts: Sequence[Dataset]) -> Dataset:
    """Return the examples of all parts in order. One part is returned as it is, not copied."""
    if len(parts) == 1:
        return parts[0]
    labels = [part.labels for part in parts if part.labels is not None]
    factors = [part.factors for part in parts if part.factors is not None]
    conditions = [part.conditions for part in parts if part.conditions is not None]
    return Dataset(
        images=np.concatenate([part.images for part in parts]),
        # One part without labels leaves the whole without labels.
        labels=np.concatenate(labels) if len(labels) == len(parts) else None,
        factors=known_factors.concatenate(factors) if len(factors) == len(parts) else None,
        columns=parts[0].columns,
        conditions=np.concatenate(conditions) if len(conditions) == len(parts) else None,
        csv_style=parts[0].csv_style,
    )
