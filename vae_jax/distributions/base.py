"""The interface of distributions, sums over events, bounded log-scales."""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

_LOG_SCALE_BOUND = 8.0


@runtime_checkable
class Distribution(Protocol):
    """The interface of a posterior, a prior or a likelihood."""

    @property
    def mean(self) -> Float[Array, "..."]:
        """The expected value; for a likelihood over images, the picture to show."""

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability or log density in nats, summed over the event."""

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Return one draw for every batch element."""


class Draw(NamedTuple):
    """Reparameterised draws, and their log density under what they were drawn from.

    Attributes:
      latents: `[*samples, *batch, latents]`.
      log_prob: nats, `[*samples, *batch]`.
    """

    latents: Float[Array, "*shape latents"]
    log_prob: Float[Array, "*shape"]


@jax.custom_jvp
def softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return log(1 + exp(x)) without overflow; its derivative is the sigmoid.

    `jax.nn.softplus` also defines the derivative of infinite inputs, which costs the training
    step of an MLP about 5 % on the CPU; logits are finite.
    """
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


softplus.defjvps(lambda tangent, _, x: tangent * jax.nn.sigmoid(x))


def bounded_log_scale(raw: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return 8 tanh(raw / 8), a log-scale that cannot run away and is the identity near 0.

    exp(8) is far beyond any useful scale and far from overflow, also when it is squared.
    """
    return _LOG_SCALE_BOUND * jnp.tanh(raw / _LOG_SCALE_BOUND)


def unbounded_log_scale(log_scale: float) -> float:
    """Return what `bounded_log_scale` maps to `log_scale`, or as near the bound as it can be."""
    return _LOG_SCALE_BOUND * math.atanh(max(-0.99, min(0.99, log_scale / _LOG_SCALE_BOUND)))


def sum_event(value: Float[Array, "..."], event_ndim: int) -> Float[Array, "..."]:
    """Return the sum over the trailing event axes."""
    return value.sum(axis=tuple(range(-event_ndim, 0)))


def flatten_event(value: Float[Array, "..."], event_ndim: int) -> Float[Array, "..."]:
    """Return the array with its trailing event axes as one."""
    # XLA's CPU backend vectorises over the last axis, which one grey channel would leave empty:
    # without this a log likelihood takes a fifth of a convolutional VAE's training step.
    return value.reshape(*value.shape[: value.ndim - event_ndim], -1)
