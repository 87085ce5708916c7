"""Independent categorical distributions over the 256 levels of an 8-bit image."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions.base import flatten_event
from vae_jax.distributions.levels import NUM_LEVELS, level_values, nearest_level
from vae_jax.distributions.pytree import register_pytree, static_field


@register_pytree
@dataclasses.dataclass(frozen=True)
class Categorical:
    """A probability for each of 256 levels, each element independent of the others.

    Attributes:
      logits: logits of the levels, darkest first, `[*batch, *event, 256]`.
      event_ndim: number of axes before the levels' that make up one event.
    """

    logits: Float[Array, "... 256"]
    event_ndim: int = static_field(default=1)

    @property
    def mean(self) -> Float[Array, "..."]:
        """The expected level in the unit interval, `[*batch, *event]`."""
        return (jax.nn.softmax(self.logits) * level_values()).sum(axis=-1)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability in nats of the level nearest to each value, `[*batch]`."""
        # A masked sum and no gather, whose gradient is a scatter: slow on every platform.
        chosen = nearest_level(value)[..., None] == jnp.arange(NUM_LEVELS)
        logits = jnp.where(chosen, self.logits, 0).sum(axis=-1)
        elements = logits - jax.nn.logsumexp(self.logits, axis=-1)
        return flatten_event(elements, self.event_ndim).sum(axis=-1)

    def interval_probability(
        self, low: Float[Array, "..."], high: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        """Return P(low <= level < high) of each element, `[*batch, *event]`."""
        levels = jnp.arange(NUM_LEVELS)
        inside = (low[..., None] <= levels) & (levels < high[..., None])
        return jnp.where(inside, jax.nn.softmax(self.logits), 0).sum(axis=-1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Return one draw of levels, k / 255 (no gradient flows through it)."""
        level = jax.random.categorical(key, self.logits)
        return level.astype(self.logits.dtype) / (NUM_LEVELS - 1)
