"""Independent columns of a row, each of its own kind; a cell that was not seen is NaN."""

import dataclasses
import functools
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.distributions.classes import Classes
from vae_jax.distributions.pytree import register_pytree, static_field

# In the support of every kind: stands where a cell was not seen, and is not counted.
_PLACEHOLDER = 1.0


@runtime_checkable
class ByDimension(Protocol):
    """Independent numbers."""

    @property
    def mean(self) -> Float[Array, "*batch event"]:
        """The expected values."""

    def log_prob_by_dimension(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability, or density, of each element in nats."""

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch event"]:
        """Return one draw."""


@register_pytree
@dataclasses.dataclass(frozen=True)
class Binary:
    """Bernoullis of single columns by their logits.

    Attributes:
      logits: `[*batch, event]`.
    """

    logits: Float[Array, "*batch event"]

    @property
    def mean(self) -> Float[Array, "*batch event"]:
        """Probability of a one."""
        return jax.nn.sigmoid(self.logits)

    def log_prob_by_dimension(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability of each element in nats."""
        return jnp.where(value > 0, self.logits, 0) - jax.nn.softplus(self.logits)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch event"]:
        """Return one draw of zeros and ones (no gradient flows through it)."""
        return jax.random.bernoulli(key, self.mean).astype(jnp.float32)


@register_pytree
@dataclasses.dataclass(frozen=True)
class Constant:
    """Columns that are given and not modelled: the log probability of any value is 0.

    Attributes:
      mean: `[*batch, event]`.
    """

    mean: Float[Array, "*batch event"]

    def log_prob_by_dimension(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return zeros."""
        return jnp.zeros(jnp.broadcast_shapes(value.shape, self.mean.shape))

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch event"]:
        """Return the mean."""
        return self.mean


@register_pytree
@dataclasses.dataclass(frozen=True)
class Group:
    """Columns of one kind.

    Attributes:
      distribution: `ByDimension`, or `Classes` with logits `[*batch, event, classes]`.
      indices: of its columns in the row.
    """

    distribution: Any
    indices: tuple[int, ...] = static_field()


@register_pytree
@dataclasses.dataclass(frozen=True)
class Columns:
    """p(x|z) of a row: the columns are independent given the latents.

    The log probability is over the cells that were seen, and so that of the others summed out. It
    has the unit of the values: nats of a density of the original numbers.

    Attributes:
      groups: the columns by kind; each column is in one.
      exposure: of the row's counts, the column that their means are proportional to, if any.
      log_exposure: log of the exposure that the counts' means are for; the mean of its draws.
      log_exposure_scale: standard deviation of the log of a drawn exposure.
    """

    groups: tuple[Group, ...]
    exposure: int | None = static_field(default=None)
    log_exposure: float = static_field(default=0.0)
    log_exposure_scale: float = static_field(default=0.0)

    @property
    def expectations(self) -> tuple[Float[Array, "..."], ...]:
        """By group, expected values `[*batch, event]` or probabilities `[*batch, event, classes]`.

        Averages of them over latents are those of the mixture.
        """
        return tuple(group.distribution.mean for group in self.groups)

    def point(
        self, expectations: tuple[Float[Array, "..."], ...]
    ) -> Float[Array, "*batch 1 columns 1"]:
        """Return one row for expectations: expected numbers, the likeliest of other values."""
        parts = []
        for group, expected in zip(self.groups, expectations, strict=True):
            if isinstance(group.distribution, Classes):
                expected = expected.argmax(axis=-1).astype(jnp.float32)
            elif isinstance(group.distribution, Binary):
                expected = (expected > 0.5).astype(jnp.float32)
            parts.append(expected)
        return self._row(parts)

    @property
    def mean(self) -> Float[Array, "*batch 1 columns 1"]:
        """The expected numbers, and the likeliest category or binary value."""
        return self.point(self.expectations)

    def log_prob_by_column(
        self, value: Float[Array, "*shape 1 columns 1"]
    ) -> Float[Array, "*batch columns"]:
        """Return log probability, or density, of each cell in nats; 0 where it was not seen."""
        row = value[..., 0, :, 0]
        parts = []
        for group in self.groups:
            cells = row[..., np.array(group.indices)]
            seen = ~jnp.isnan(cells)
            filled = jnp.where(seen, cells, _PLACEHOLDER)
            distribution = self._exposed(group.distribution, row)
            if isinstance(distribution, Classes):
                log_prob = distribution.log_prob(filled.astype(jnp.int32))
            else:
                log_prob = distribution.log_prob_by_dimension(filled)
            parts.append(jnp.where(seen, log_prob, 0))
        return jnp.concatenate(parts, axis=-1)[..., self._order]

    def log_prob(self, value: Float[Array, "*shape 1 columns 1"]) -> Float[Array, "*batch"]:
        """Return log probability, or density, of the seen cells of each row in nats."""
        return self.log_prob_by_column(value).sum(axis=-1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch 1 columns 1"]:
        """Return one draw of every cell (a gradient flows only through real ones).

        An exposure is log-normal, and the counts are those of the drawn exposure.
        """
        if self.exposure is not None:
            exposure_key, key = jax.random.split(key)
            return self._with_drawn_exposure(exposure_key).sample(key)
        keys = jax.random.split(key, len(self.groups))
        draws = [
            group.distribution.sample(key).astype(jnp.float32)
            for group, key in zip(self.groups, keys, strict=True)
        ]
        return self._row(draws)

    def given(self, value: Float[Array, "*shape 1 columns 1"]) -> "Columns":
        """Return the distribution with the exposures of given rows, and counts' means at them.

        An exposure that was not seen stays NaN, and its counts have the means of the training rows'
        typical one.
        """
        if self.exposure is None:
            return self
        row = value[..., 0, :, 0]
        groups = []
        for group in self.groups:
            distribution = self._exposed(group.distribution, row)
            if isinstance(distribution, Constant) and self.exposure in group.indices:
                own = np.array(group.indices) == self.exposure
                cells = jnp.where(own, row[..., self.exposure, None], distribution.mean)
                distribution = Constant(cells)
            groups.append(dataclasses.replace(group, distribution=distribution))
        return dataclasses.replace(self, groups=tuple(groups), exposure=None)

    def _with_drawn_exposure(self, key: Key[Array, ""]) -> "Columns":
        """Return the distribution at an exposure that is drawn for each row."""
        shape = self.mean.shape
        noise = jax.random.normal(key, shape[:-3])
        exposures = jnp.exp(self.log_exposure + self.log_exposure_scale * noise)
        return self.given(jnp.broadcast_to(exposures[..., None, None, None], shape))

    def _exposed(self, distribution: Any, row: Float[Array, "*shape columns"]) -> Any:
        if self.exposure is None or not hasattr(distribution, "log_mean"):
            return distribution
        exposure = row[..., self.exposure, None]
        seen = ~jnp.isnan(exposure)
        log_factor = jnp.log(jnp.where(seen, exposure, 1.0)) - self.log_exposure
        return _with_more(distribution, jnp.where(seen, log_factor, 0.0))

    @functools.cached_property
    def _order(self) -> np.ndarray:
        """The place of each column in the order of the groups."""
        return np.argsort([index for group in self.groups for index in group.indices])

    def _row(self, parts: list[Float[Array, "..."]]) -> Float[Array, "..."]:
        return jnp.concatenate(parts, axis=-1)[..., None, self._order, None]


def _with_more(distribution: Any, log_factor: Float[Array, "*batch 1"]) -> Any:
    """Return distributions of counts with means times a factor."""
    if hasattr(distribution, "counts"):
        counts = _with_more(distribution.counts, log_factor)
        return dataclasses.replace(distribution, counts=counts)
    return dataclasses.replace(distribution, log_mean=distribution.log_mean + log_factor)
