"""Simulators, which draw examples with given factors."""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from vae_jax.data.dataset import Dataset
from vae_jax.data.sprites.dataset import render_rows
from vae_jax.data.sprites.variants import Variant
from vae_jax.errors import UserError


class FactorSample(NamedTuple):
    """Examples and their factors.

    Attributes:
        factors: [num_examples, num_factors], int32.
        images: [num_examples, height, width, channels]; uint8 or float32, as stored.
    """

    factors: Int[np.ndarray, "num_examples num_factors"]
    images: np.ndarray


@runtime_checkable
class Simulator(Protocol):
    """Draws examples by their factors, for the metrics of disentanglement.

    Attributes:
        names: of the factors.
        sizes: the number of values of each factor.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the factors."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each factor."""

    def sample(self, key: Key[Array, ""], num: int) -> FactorSample:
        """Return examples whose factors are independent and uniform."""

    def sample_sharing(
        self, key: Key[Array, ""], shared: Int[np.ndarray, " groups"], group_size: int
    ) -> FactorSample:
        """Return groups of examples; within a group one factor has one value.

        Args:
            key: of the draw.
            shared: [groups]; the factor that each group shares, whose value is drawn once per
                group. The others are drawn for each example.
            group_size: examples per group.

        Returns:
            groups * group_size examples, ordered by group.
        """


class SpritesSimulator:
    """Renders sprites with any factors of their grid, in whatever split they are.

    Args:
        variant: defines the factors and the look of images.
        image_size: height and width.
    """

    def __init__(self, variant: Variant, image_size: int) -> None:
        self._variant, self._image_size = variant, image_size

    @property
    def names(self) -> tuple[str, ...]:
        """See `Simulator`."""
        return self._variant.names

    @property
    def sizes(self) -> tuple[int, ...]:
        """See `Simulator`."""
        return self._variant.sizes

    def sample(self, key: Key[Array, ""], num: int) -> FactorSample:
        """See `Simulator`."""
        return self._render(self._draw(key, num))

    def sample_sharing(
        self, key: Key[Array, ""], shared: Int[np.ndarray, " groups"], group_size: int
    ) -> FactorSample:
        """See `Simulator`."""
        all_key, shared_key = jax.random.split(key)
        groups = np.arange(len(shared))
        factors = self._draw(all_key, len(shared) * group_size)
        factors = factors.reshape(len(shared), group_size, -1)
        factors[groups, :, shared] = self._draw(shared_key, len(shared))[groups, shared, None]
        return self._render(factors.reshape(-1, len(self.sizes)))

    def _draw(self, key: Key[Array, ""], num: int) -> Int[np.ndarray, "num factors"]:
        return _below(key, np.tile(np.array(self.sizes, np.int32), (num, 1)))

    def _render(self, factors: Int[np.ndarray, "num factors"]) -> FactorSample:
        rows = factors.astype(np.uint8)
        return FactorSample(factors, render_rows(self._variant, rows, self._image_size))


class StoredSimulator:
    """Draws from the examples of a data set in memory.

    The factors are independent if the data set has every combination of their values equally often;
    otherwise they are dependent as in the data set.

    Args:
        dataset: a data set with factors.

    Raises:
        UserError: the data set has no factors, or a factor with a single value.
    """

    def __init__(self, dataset: Dataset) -> None:
        factors = dataset.factors
        if factors is None:
            raise UserError("there are no factors of variation")
        for name, column in zip(factors.names, factors.values.T, strict=True):
            if (column == column[0]).all():
                raise UserError(
                    f"the factor {name!r} has the value {column[0]} in all {len(column)} examples; "
                    "use examples in which it varies, or leave it out"
                )
        self._images, self._factors = dataset.images, factors
        # By factor: the examples sorted by its values, and the position where each value begins.
        self._order = np.argsort(factors.values, axis=0, kind="stable").T
        begins = [
            np.flatnonzero(np.diff(column[order], prepend=-1))
            for column, order in zip(factors.values.T, self._order, strict=True)
        ]
        self._num_values = np.array([len(positions) for positions in begins])
        self._begins = np.full((len(begins), self._num_values.max() + 1), len(factors.values))
        for row, positions in zip(self._begins, begins, strict=True):
            row[: len(positions)] = positions

    @property
    def names(self) -> tuple[str, ...]:
        """See `Simulator`."""
        return self._factors.names

    @property
    def sizes(self) -> tuple[int, ...]:
        """See `Simulator`."""
        return self._factors.sizes

    def sample(self, key: Key[Array, ""], num: int) -> FactorSample:
        """See `Simulator`."""
        return self._read(_below(key, np.full(num, len(self._images))))

    def sample_sharing(
        self, key: Key[Array, ""], shared: Int[np.ndarray, " groups"], group_size: int
    ) -> FactorSample:
        """See `Simulator`; the value is uniform among those in the data set."""
        value_key, offset_key = jax.random.split(key)
        value = _below(value_key, self._num_values[shared])
        begin, end = self._begins[shared, value], self._begins[shared, value + 1]
        offsets = _below(offset_key, np.repeat((end - begin)[:, None], group_size, axis=1))
        rows = self._order[shared[:, None], begin[:, None] + offsets]
        return self._read(rows.reshape(-1))

    def _read(self, rows: Int[np.ndarray, " num"]) -> FactorSample:
        return FactorSample(self._factors.values[rows], self._images[rows])


def _below(key: Key[Array, ""], bounds: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """Return uniform integers from 0, each below its own bound."""
    return np.array(jax.random.randint(key, bounds.shape, 0, bounds))
