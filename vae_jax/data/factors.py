"""Known factors of variation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from vae_jax.errors import UserError


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

    def column(self, name: str) -> Int[np.ndarray, " num_examples"]:
        """Return the values of one factor.

        Raises:
            UserError: there is no such factor.
        """
        if name not in self.names:
            raise UserError(f"{name!r} is no factor of the data; they are {', '.join(self.names)}")
        return self.values[:, self.names.index(name)]

    def value(self, factor: str, name: str) -> int:
        """Return the index of a value of a factor.

        Args:
            factor: its name.
            name: of the value; its index, where values have no names.

        Raises:
            UserError: there is no such factor or value.
        """
        self.column(factor)
        index = self.names.index(factor)
        names = self.value_names[index] if self.value_names else range(self.sizes[index])
        known = [str(known) for known in names]
        if name not in known:
            raise UserError(f"{name!r} is no value of {factor}; they are {', '.join(known)}")
        return known.index(name)


def concatenate(parts: Sequence[Factors]) -> Factors:
    """Return the factors of all examples in order; names and sizes are those of the first part."""
    return parts[0]._replace(values=np.concatenate([part.values for part in parts]))
