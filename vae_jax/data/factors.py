"""Known factors of variation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class Factors(NamedTuple):
    """The factors of examples, each with a finite number of values.

    Attributes:
        names: of the factors, such as "shape" or "scale".
        sizes: the number of values of each factor.
        values: [num_examples, num_factors], int32; the value's index, from 0.
        value_names: of each factor's values, where the source has names; else ().
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    values: Int[np.ndarray, "num_examples num_factors"]
    value_names: tuple[tuple[str, ...], ...] = ()

    def read(self, indices: Int[np.ndarray, " num"]) -> "Factors":
        """Return the factors of the examples at these indices."""
        return self._replace(values=self.values[indices])


def concatenate(parts: Sequence[Factors]) -> Factors:
    """Return the factors of all examples in order; names and sizes are those of the first part."""
    return parts[0]._replace(values=np.concatenate([part.values for part in parts]))
