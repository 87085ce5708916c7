"""Probability distributions over events of any shape, in nats.

A distribution's parameters carry leading batch axes and `event_ndim` trailing event axes. Log
densities and divergences sum over the event and keep the batch: a `Normal` with `mean` of shape
`[num_samples, batch, latents]` and `event_ndim=1` has `log_prob` of shape `[num_samples, batch]`.
"""

import dataclasses
import functools
import math
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

_LOG_2PI = math.log(2 * math.pi)
_LOG_SCALE_BOUND = 8.0

_static_field = functools.partial(dataclasses.field, metadata={"static": True})


@runtime_checkable
class Distribution(Protocol):
    """What the models ask of a posterior, a prior or a likelihood."""

    @property
    def mean(self) -> Float[Array, "..."]:
        """The expected value; for a likelihood over images, the picture to show."""

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Log probability or log density in nats, summed over the event."""

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """One draw for every batch element."""


@jax.custom_jvp
def softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + exp(x)) without overflow; its derivative is the sigmoid.

    `jax.nn.softplus` also defines the derivative of infinite inputs, which costs the training
    step of an MLP about 5 % on the CPU; logits are finite.
    """
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


softplus.defjvps(lambda tangent, _, x: tangent * jax.nn.sigmoid(x))


def bounded_log_scale(raw: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """8 tanh(raw / 8): a log-scale that cannot run away, and the identity near 0.

    exp(8) is far beyond any useful scale and far from overflow, also when it is squared.
    """
    return _LOG_SCALE_BOUND * jnp.tanh(raw / _LOG_SCALE_BOUND)


def unbounded_log_scale(log_scale: float) -> float:
    """The value that `bounded_log_scale` maps to `log_scale`, as near the bound as it can be."""
    return _LOG_SCALE_BOUND * math.atanh(max(-0.99, min(0.99, log_scale / _LOG_SCALE_BOUND)))


def _sum_event(value: Float[Array, "..."], event_ndim: int) -> Float[Array, "..."]:
    return value.sum(axis=tuple(range(-event_ndim, 0)))


def _flatten_event(value: Float[Array, "..."], event_ndim: int) -> Float[Array, "..."]:
    # XLA's CPU backend vectorises over the last axis, which one grey channel would leave empty:
    # without this a log likelihood takes a fifth of a convolutional VAE's training step.
    return value.reshape(*value.shape[: value.ndim - event_ndim], -1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Normal:
    """Independent normals: density N(value; mean, exp(log_scale)^2) an element.

    Attributes:
      mean: `[*batch, *event]`.
      log_scale: log standard deviation, any shape that broadcasts to `mean`.
      event_ndim: how many trailing axes make up one event.
    """

    mean: Float[Array, "..."]
    log_scale: Float[Array, "..."]
    event_ndim: int = _static_field(default=1)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Log density in nats, `[*batch]`."""
        residual = _flatten_event(value - self.mean, self.event_ndim)
        log_scale = self.log_scale
        if log_scale.ndim > 0:
            log_scale = _flatten_event(
                jnp.broadcast_to(log_scale, self.mean.shape), self.event_ndim
            )
        standardised = residual * jnp.exp(-log_scale)
        return (-0.5 * (jnp.square(standardised) + _LOG_2PI) - log_scale).sum(axis=-1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """One reparameterised draw, differentiable in `mean` and `log_scale`."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_scale) * noise


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bernoulli:
    """Independent Bernoullis by their logits.

    `log_prob` accepts any value in [0, 1]: for a grey value it is the cross-entropy, which is what
    the literature minimises on images that are not binarised, but no log probability.

    Attributes:
      logits: `[*batch, *event]`.
      event_ndim: how many trailing axes make up one event.
    """

    logits: Float[Array, "..."]
    event_ndim: int = _static_field(default=1)

    @property
    def mean(self) -> Float[Array, "..."]:
        """Probability of a one, `[*batch, *event]`."""
        return jax.nn.sigmoid(self.logits)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Log probability in nats, `[*batch]`."""
        logits = _flatten_event(self.logits, self.event_ndim)
        return (_flatten_event(value, self.event_ndim) * logits - softplus(logits)).sum(axis=-1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """One draw of zeros and ones (no gradient flows through it)."""
        return jax.random.bernoulli(key, self.mean).astype(self.logits.dtype)


def kl_by_dimension(q: Normal, p: Normal) -> Float[Array, "..."]:
    """KL(q || p) of each element in nats, `[*batch, *event]`: the sum over the event is the KL."""
    difference = (q.mean - p.mean) * jnp.exp(-p.log_scale)
    log_ratio = q.log_scale - p.log_scale
    return 0.5 * (jnp.square(difference) + jnp.expm1(2 * log_ratio)) - log_ratio


def kl_divergence(q: Normal, p: Normal) -> Float[Array, "..."]:
    """KL(q || p) in nats, summed over the event, `[*batch]` (Kingma & Welling 2013, appendix B)."""
    return _sum_event(kl_by_dimension(q, p), q.event_ndim)
