"""Images of which values were not seen: they are NaN, and a likelihood leaves them out."""

import dataclasses
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions.base import flatten_event
from vae_jax.distributions.pytree import register_pytree


@runtime_checkable
class Elementwise(Protocol):
    """Independent values of an event.

    Attributes:
      event_ndim: number of trailing axes that make up one event.
    """

    event_ndim: int

    @property
    def mean(self) -> Float[Array, "..."]:
        """The expected values, `[*batch, *event]`."""

    def log_prob_by_dimension(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability, or density, of each value in nats."""

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Return one draw."""


@register_pytree
@dataclasses.dataclass(frozen=True)
class SeenPixels:
    """p(x|z) of the values of an image that were seen; the others are NaN.

    The values are independent given the latents, so that those that were not seen are summed out by
    leaving them out.

    Attributes:
      every: the distribution of all values.
    """

    every: Elementwise

    @property
    def mean(self) -> Float[Array, "*batch height width channels"]:
        """The expected values of all pixels, seen or not."""
        return self.every.mean

    @property
    def expectations(self) -> tuple[Float[Array, "..."], ...]:
        """The expected values, whose averages over latents are those of the mixture."""
        return (self.mean,)

    def point(self, expectations: tuple[Float[Array, "..."], ...]) -> Float[Array, "..."]:
        """Return the image of given expectations."""
        return expectations[0]

    def given(self, value: Float[Array, "..."]) -> "SeenPixels":
        """Return itself: no pixel decides on the scale of another."""
        del value
        return self

    def log_prob(self, value: Float[Array, "*shape height width channels"]) -> Float[Array, "..."]:
        """Return log probability, or density, of the seen values of each image in nats."""
        seen = ~jnp.isnan(value)
        # A value of every support stands where none was seen, and is not counted.
        by_value = self.every.log_prob_by_dimension(jnp.where(seen, value, 0))
        counted = jnp.where(seen, by_value, 0)
        return flatten_event(counted, self.every.event_ndim).sum(axis=-1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch height width channels"]:
        """Return one draw of all pixels."""
        return self.every.sample(key)
