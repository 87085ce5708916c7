"""Factors of variation that are known, and how to ask for examples of chosen ones."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Int, Key


class Factors(NamedTuple):
    """The factors that examples were made from, each with a finite number of values.

    Attributes:
        names: of the factors, such as "shape" or "scale".
        sizes: the number of values of each factor.
        values: [num_examples, num_factors], int32; which of them each example has, from 0.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    values: Int[np.ndarray, "num_examples num_factors"]

    def read(self, indices: Int[np.ndarray, " num"]) -> "Factors":
        """The factors of the examples at these places."""
        return self._replace(values=self.values[indices])


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
    """Draws examples by their factors, as the metrics of disentanglement want them.

    Attributes:
        names: of the factors.
        sizes: the number of values of each factor.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Of the factors."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each factor."""

    def sample(self, key: Key[Array, ""], num: int) -> FactorSample:
        """Examples whose factors are independent and uniform."""

    def sample_sharing(
        self, key: Key[Array, ""], shared: Int[np.ndarray, " groups"], group_size: int
    ) -> FactorSample:
        """Groups of examples, within each of which one factor has one value.

        Args:
            key: of the draw.
            shared: [groups]; which factor the examples of each group share, whose value is drawn
                once a group. The others are drawn for each example.
            group_size: examples in a group.

        Returns:
            groups * group_size examples, those of a group one after the other.
        """


def concatenate(parts: Sequence[Factors]) -> Factors:
    """The factors of all examples in order; names and sizes are those of the first part."""
    return parts[0]._replace(values=np.concatenate([part.values for part in parts]))
