"""One of several classes."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from vae_jax.distributions.pytree import register_pytree


@register_pytree
@dataclasses.dataclass(frozen=True)
class Classes:
    """A probability for each class.

    Attributes:
      logits: `[*batch, classes]`.
    """

    logits: Float[Array, "*batch classes"]

    @property
    def mean(self) -> Float[Array, "*batch classes"]:
        """The probability of each class."""
        return jax.nn.softmax(self.logits)

    def log_prob(self, value: Int[Array, "*shape"]) -> Float[Array, "*batch"]:
        """Return log probability in nats of classes 0, 1, ..., which broadcast to the batch."""
        # A masked sum and no gather, whose gradient is a scatter.
        chosen = value[..., None] == jnp.arange(self.logits.shape[-1])
        logits = jnp.where(chosen, self.logits, 0).sum(axis=-1)
        return logits - jax.nn.logsumexp(self.logits, axis=-1)

    def sample(self, key: Key[Array, ""]) -> Int[Array, "*batch"]:
        """Return one draw (no gradient flows through it)."""
        return jax.random.categorical(key, self.logits).astype(jnp.int32)
