"""A source of data from outside the package: a function that returns data sets by split."""

import functools
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int

from vae_jax.data.dataset import Dataset, ImagesShape, LazyDataset, Ranges, concatenate
from vae_jax.errors import UserError, first_line


@functools.cache
def load(name: str) -> Mapping[str, LazyDataset]:
    """Return the data sets by split that the function "package.module:Name" returns.

    Raises:
        UserError: there is no such function, it fails, or it returns something else.
    """
    # Imported here, since it imports JAX.
    from vae_jax.settings import import_outside

    function: Callable[[], Mapping[str, LazyDataset]] = import_outside("data.name", name)
    expected = (
        "a function without arguments that returns data sets by the name of their split, such as "
        "{'train': vae_jax.data.Dataset(images, labels), 'test': ...}"
    )
    if not callable(function):
        raise UserError(f"data.name={name!r} must be {expected}")
    try:
        found = function()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"data.name={name!r} fails: {type(error).__name__}: {first_line(error)}"
        ) from None
    if not isinstance(found, Mapping) or not found:
        raise UserError(f"data.name={name!r} returns {type(found).__name__}; it must be {expected}")
    for split, dataset in found.items():
        if not isinstance(dataset, LazyDataset):
            raise UserError(
                f"data.name={name!r}: its split {split!r} is {type(dataset).__name__}; "
                "return a vae_jax.data.Dataset, or an object with shape, dtype and read"
            )
        if len(dataset.shape) != 4 or dataset.shape[0] == 0:
            raise UserError(
                f"data.name={name!r}: images of {split!r} have shape {tuple(dataset.shape)}; they "
                "must be [num_examples, height, width, channels], with at least one example"
            )
        if dataset.dtype not in (np.uint8, np.float32):
            raise UserError(
                f"data.name={name!r}: images of {split!r} are {dataset.dtype}; use uint8 or float32"
            )
    return found


def sizes(name: str) -> dict[str, int]:
    """Return the number of examples in each split."""
    return {split: int(dataset.shape[0]) for split, dataset in load(name).items()}


class OutsideDataset:
    """Examples of ranges of splits, read on demand."""

    def __init__(self, name: str, ranges: Ranges) -> None:
        self._parts = [(load(name)[split], start, stop) for split, start, stop in ranges]
        self._ends = np.cumsum([stop - start for _, start, stop in self._parts])

    @property
    def shape(self) -> ImagesShape:
        """Number of examples, height, width, channels."""
        _, height, width, channels = self._parts[0][0].shape
        return int(self._ends[-1]), height, width, channels

    @property
    def dtype(self) -> np.dtype:
        """The type of the images."""
        return self._parts[0][0].dtype

    def read(self, indices: Int[np.ndarray, " num"]) -> Dataset:
        """Return the examples at these indices, in their order."""
        part_of = np.searchsorted(self._ends, indices, side="right")
        found, where = [], []
        for part, (dataset, start, stop) in enumerate(self._parts):
            chosen = np.flatnonzero(part_of == part)
            if len(chosen):
                first = self._ends[part] - (stop - start)
                found.append(dataset.read(indices[chosen] - first + start))
                where.append(chosen)
        order = np.argsort(np.concatenate(where))
        return concatenate(found).read(order)
