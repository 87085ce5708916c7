"""Independent Bernoullis, the likelihood of zeros and ones, and their kin on the unit interval."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.distributions.base import flatten_event, softplus
from vae_jax.distributions.pytree import register_pytree, static_field

# Below this slope a density is sampled by the first terms of a series.
_NEARLY_FLAT = 1e-3


@register_pytree
@dataclasses.dataclass(frozen=True)
class Bernoulli:
    """Independent Bernoullis by their logits.

    `log_prob` accepts any value in [0, 1]: for a grey value it is the cross-entropy, which is what
    the literature minimises on images that are not binarised, but no log probability.

    Attributes:
      logits: `[*batch, *event]`.
      event_ndim: number of trailing axes that make up one event.
    """

    logits: Float[Array, "..."]
    event_ndim: int = static_field(default=1)

    @property
    def mean(self) -> Float[Array, "..."]:
        """Probability of a one, `[*batch, *event]`."""
        return jax.nn.sigmoid(self.logits)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability in nats, `[*batch]`."""
        logits = flatten_event(self.logits, self.event_ndim)
        return _sum_log_prob(flatten_event(value, self.event_ndim), logits)

    def log_prob_by_dimension(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability of each element in nats: its sum is `log_prob`."""
        return value * self.logits - softplus(self.logits)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Return one draw of zeros and ones (no gradient flows through it)."""
        return jax.random.bernoulli(key, self.mean).astype(self.logits.dtype)


@jax.custom_jvp
def _sum_log_prob(
    value: Float[Array, "... event"], logits: Float[Array, "... event"]
) -> Float[Array, "..."]:
    """Return the sum of value * logit - log(1 + exp(logit)) over the last axis.

    A group of elements takes one logarithm, that of their product. Both sums are made in one pass
    over rows of `_row_length` elements, which the CPU adds and multiplies as vectors, in half the
    time of one softplus per element.
    """
    shape = jnp.broadcast_shapes(value.shape, logits.shape)
    rows = (*shape[:-1], -1, _row_length(shape[-1]))
    linear = (value * logits - jnp.maximum(logits, 0)).reshape(rows)
    factors = jnp.broadcast_to(1 + jnp.exp(-jnp.abs(logits)), shape).reshape(rows)
    total, product = jax.lax.reduce(
        (linear, factors),
        (np.float32(0), np.float32(1)),
        lambda left, right: (left[0] + right[0], left[1] * right[1]),
        (linear.ndim - 2,),
    )
    return (total - jnp.log(product)).sum(axis=-1)


def _row_length(size: int) -> int:
    """Return the length of the rows into which a sum over `size` elements is divided.

    There are at most 112 rows: a factor 1 + exp(-|logit|) is at most 2, and the product over the
    rows must not overflow. Rows are long enough for vectors, and a multiple of 16 if possible.
    """
    lengths = [n for n in range(1, size + 1) if size % n == 0 and size <= 112 * n]
    return min(lengths, key=lambda n: (n < 64, n % 16 != 0, n))


@_sum_log_prob.defjvp
def _sum_log_prob_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (value, logits), (d_value, d_logits) = primals, tangents
    tangent = d_value * logits + d_logits * (value - jax.nn.sigmoid(logits))
    return _sum_log_prob(value, logits), tangent.sum(axis=-1)


@register_pytree
@dataclasses.dataclass(frozen=True)
class ContinuousBernoulli:
    """Independent continuous Bernoullis by their logits: densities on the unit interval.

    p(x) = C(lambda) lambda^x (1 - lambda)^(1 - x), lambda = sigmoid(logit): what the Bernoulli's
    cross-entropy becomes once it is normalised (Loaiza-Ganem & Cunningham 2019, arXiv 1907.06845,
    section 3). In the logit it is the exponential density

        p(x) = r exp(-r d) / (1 - exp(-r)),  r = |logit|,  d = x or, for a positive logit, 1 - x,

    whose normaliser is smooth at lambda = 1/2, where C(lambda) in its closed form is 0 / 0.

    Attributes:
      logits: `[*batch, *event]`.
      event_ndim: number of trailing axes that make up one event.
    """

    logits: Float[Array, "..."]
    event_ndim: int = static_field(default=1)

    @property
    def mean(self) -> Float[Array, "..."]:
        """The expected value, which is not sigmoid(logits); `[*batch, *event]`."""
        return _mean(self.logits)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log density in nats of values in [0, 1], `[*batch]`."""
        logits = flatten_event(self.logits, self.event_ndim)
        return _log_density(flatten_event(value, self.event_ndim), logits).sum(axis=-1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Return one draw by the inverse distribution function, differentiable in `logits`."""
        uniform = jax.random.uniform(key, self.logits.shape, self.logits.dtype)
        rate = jnp.abs(self.logits)
        flat = rate < _NEARLY_FLAT
        safe = jnp.where(flat, 1, rate)
        falling = -jnp.log1p(uniform * jnp.expm1(-safe)) / safe
        series = uniform - 0.5 * rate * uniform * (1 - uniform)
        distance = jnp.clip(jnp.where(flat, series, falling), 0, 1)
        return jnp.where(self.logits > 0, 1 - distance, distance)


@jax.custom_jvp
def _log_density(value: Float[Array, "..."], logits: Float[Array, "..."]) -> Float[Array, "..."]:
    rate = jnp.abs(logits)
    distance = jnp.where(logits > 0, 1 - value, value)
    safe = jnp.maximum(rate, 1e-7)
    return -rate * distance - jnp.log(-jnp.expm1(-safe) / safe)


_log_density.defjvps(
    lambda tangent, _, value, logits: tangent * logits,
    lambda tangent, _, value, logits: tangent * (value - _mean(logits)),
)


def _mean(logits: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the mean: 1 / r - 1 / (exp(r) - 1) from the end where the density is high."""
    rate = jnp.abs(logits)
    near = rate < 1
    small, safe = jnp.where(near, rate, 0), jnp.where(near, 1, rate)
    square = jnp.square(small)
    # Below 1 the closed form loses digits: the series, with Bernoulli numbers for coefficients.
    slope = -1 / 12 + square * (1 / 720 + square * (-1 / 30240 + square / 1209600))
    closed = 1 / safe + jnp.exp(-safe) / jnp.expm1(-safe)
    distance = jnp.where(near, 0.5 + small * slope, closed)
    return jnp.where(logits > 0, 1 - distance, distance)
