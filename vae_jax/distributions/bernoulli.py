"""Independent Bernoullis: the likelihood of zeros and ones."""

import dataclasses

import jax
from jaxtyping import Array, Float, Key

from vae_jax.distributions.base import flatten_event, softplus, static_field


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
    event_ndim: int = static_field(default=1)

    @property
    def mean(self) -> Float[Array, "..."]:
        """Probability of a one, `[*batch, *event]`."""
        return jax.nn.sigmoid(self.logits)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Log probability in nats, `[*batch]`."""
        logits = flatten_event(self.logits, self.event_ndim)
        return (flatten_event(value, self.event_ndim) * logits - softplus(logits)).sum(axis=-1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """One draw of zeros and ones (no gradient flows through it)."""
        return jax.random.bernoulli(key, self.mean).astype(self.logits.dtype)
