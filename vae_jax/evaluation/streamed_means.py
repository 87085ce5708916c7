"""Means over samples that come in chunks of any size.

Log likelihoods are thousands of nats, which float32 resolves to thousandths, and samples differ by
a few nats. So the sums are of each sample's distance from a value near all of them.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def _mask(wanted: Bool[Array, " chunk"], values: Float[Array, "chunk *shape"]) -> Array:
    return wanted.reshape(-1, *(1,) * (values.ndim - 1))


class LogMeanExp(NamedTuple):
    """Log of the mean of exp(value) over samples.

    Attributes:
      largest: the largest value so far.
      total: sum of exp(value - largest).
    """

    largest: Float[Array, "*shape"]
    total: Float[Array, "*shape"]

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "LogMeanExp":
        """Return the mean of no samples."""
        return cls(jnp.full(shape, -jnp.inf), jnp.zeros(shape))

    def add(
        self, values: Float[Array, "chunk *shape"], wanted: Bool[Array, " chunk"]
    ) -> "LogMeanExp":
        """Return the mean with a chunk of samples added, except those not wanted."""
        values = jnp.where(_mask(wanted, values), values, -jnp.inf)
        largest = jnp.maximum(self.largest, values.max(axis=0))
        # Where all samples have probability zero, -inf - (-inf) would be NaN.
        shift = jnp.where(largest == -jnp.inf, 0, largest)
        total = self.total * jnp.exp(self.largest - shift) + jnp.exp(values - shift).sum(axis=0)
        return LogMeanExp(largest, total)

    def result(self, num_samples: int) -> Float[Array, "*shape"]:
        """Return the log-mean-exp of `num_samples` samples."""
        return self.largest + jnp.log(self.total / num_samples)


class Moments(NamedTuple):
    """Mean and variance over samples.

    Attributes:
      reference: the first sample; NaN before it has come.
      deviations: sum of value - reference.
      squares: sum of (value - reference)^2.
    """

    reference: Float[Array, "*shape"]
    deviations: Float[Array, "*shape"]
    squares: Float[Array, "*shape"]

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "Moments":
        """Return the moments of no samples."""
        return cls(jnp.full(shape, jnp.nan), jnp.zeros(shape), jnp.zeros(shape))

    def add(self, values: Float[Array, "chunk *shape"], wanted: Bool[Array, " chunk"]) -> "Moments":
        """Return the moments with a chunk added, except the samples not wanted; the first is."""
        reference = jnp.where(jnp.isnan(self.reference), values[0], self.reference)
        deviations = jnp.where(_mask(wanted, values), values - reference, 0)
        return Moments(
            reference,
            self.deviations + deviations.sum(axis=0),
            self.squares + jnp.square(deviations).sum(axis=0),
        )

    def mean(self, num_samples: int) -> Float[Array, "*shape"]:
        """Return the mean of `num_samples` samples."""
        return self.reference + self.deviations / num_samples

    def variance_of_mean(self, num_samples: int) -> Float[Array, "*shape"]:
        """Return an unbiased estimate of the variance of `mean`; NaN for a single sample."""
        if num_samples == 1:
            return jnp.full_like(self.reference, jnp.nan)
        spread = self.squares - jnp.square(self.deviations) / num_samples
        return jnp.maximum(spread, 0) / (num_samples * (num_samples - 1))
