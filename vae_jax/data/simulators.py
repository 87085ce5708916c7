"""Where examples of chosen factors come from."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Int, Key


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
