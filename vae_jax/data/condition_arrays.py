"""Numbers beside each image, which a model is conditioned on, and their statistics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

ImageShape = tuple[int, int, int]


class ConditionedShape(tuple[int, int, int]):
    """The shape of an image, height, width, channels, which knows the numbers beside it.

    Attributes:
        center: mean of each number over training images.
        scale: their standard deviations; 1 where that is 0.
    """

    center: tuple[float, ...]
    scale: tuple[float, ...]

    def __new__(
        cls, shape: ImageShape, center: Sequence[float], scale: Sequence[float]
    ) -> "ConditionedShape":
        found = super().__new__(cls, shape)
        found.center, found.scale = tuple(center), tuple(scale)
        return found

    def __getnewargs__(self) -> tuple[ImageShape, tuple[float, ...], tuple[float, ...]]:
        height, width, channels = self
        return (height, width, channels), self.center, self.scale

    def __eq__(self, other: object) -> bool:
        same = tuple.__eq__(self, other) if isinstance(other, tuple) else False
        if not isinstance(other, ConditionedShape):
            return same
        return same and (self.center, self.scale) == (other.center, other.scale)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((*self, self.center, self.scale))

    @property
    def num_features(self) -> int:
        """How many numbers stand beside an image."""
        return len(self.center)

    def to_metadata(self) -> dict[str, Any]:
        """Return what JSON holds of the numbers."""
        return {"center": list(self.center), "scale": list(self.scale)}

    @classmethod
    def from_metadata(cls, shape: ImageShape, described: Mapping[str, Any]) -> "ConditionedShape":
        """Return the inverse of `to_metadata`."""
        return cls(shape, described["center"], described["scale"])


def fit(shape: ImageShape, conditions: Float[np.ndarray, "num features"]) -> ConditionedShape:
    """Return a shape with the statistics of training images' conditions.

    They have six digits, so that machines that add in another order have the same.
    """
    center = conditions.mean(axis=0, dtype=np.float64)
    scale = conditions.std(axis=0, dtype=np.float64)
    return ConditionedShape(
        shape,
        [float(f"{value:.6g}") for value in center],
        [float(f"{value:.6g}") or 1.0 for value in scale],
    )
