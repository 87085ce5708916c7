"""Groups of classes, each a one-hot vector, and their relaxation by Gumbel noise."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions.base import Draw
from vae_jax.distributions.pytree import register_pytree

Latents = Float[Array, "*shape latents"]


def gumbel_from_normal(noise: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return standard Gumbel noise, -log(-log u) with u the normal distribution function."""
    return -jnp.log(-jax.scipy.special.log_ndtr(noise))


@register_pytree
@dataclasses.dataclass(frozen=True)
class OneHot:
    """Independent categorical variables; latents are their one-hot vectors, side by side.

    Attributes:
      logits: `[*batch, groups, classes]`; latents are `[*batch, groups * classes]`.
    """

    logits: Float[Array, "*batch groups classes"]

    @property
    def mean(self) -> Latents:
        """The likeliest class of each group, which a draw at zero noise is."""
        return self._flat(self._chosen(self.logits))

    @property
    def log_probabilities(self) -> Float[Array, "*batch groups classes"]:
        """The log probability of each class, in nats."""
        return jax.nn.log_softmax(self.logits)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability in nats of one-hot vectors, which broadcast to the batch."""
        return (self._grouped(value) * self.log_probabilities).sum(axis=(-2, -1))

    def draw(self, noise: Latents) -> Draw:
        """Return exact draws from standard normal noise, and their log probability in nats.

        No gradient flows through the draws: argmax of the logits and Gumbel noise (Maddison et al.
        2016, arXiv 1611.00712, section 2.2).
        """
        latents = self._flat(self._chosen(self._perturbed(noise)))
        return Draw(latents, self.log_prob(latents))

    def relaxed(self, noise: Latents, temperature: Float[Array, ""] | float) -> Latents:
        """Return softmax((logits + Gumbel noise) / temperature), differentiable in the logits.

        It is `draw` of the same noise in the limit of temperature 0 (Jang et al. 2016, arXiv
        1611.01144, equation 2).

        Args:
          noise: standard normal, `[*samples, *batch, latents]`.
          temperature: above 0.
        """
        return self._flat(jax.nn.softmax(self._perturbed(noise) / temperature))

    def sample(self, key: Key[Array, ""]) -> Latents:
        """Return one exact draw (no gradient flows through it)."""
        classes = jax.random.categorical(key, self.logits)
        return self._flat(jax.nn.one_hot(classes, self.logits.shape[-1]))

    def _perturbed(self, noise: Latents) -> Float[Array, "*shape groups classes"]:
        return self.logits + gumbel_from_normal(self._grouped(noise))

    def _chosen(
        self, scores: Float[Array, "*shape groups classes"]
    ) -> Float[Array, "*shape groups classes"]:
        return jax.nn.one_hot(scores.argmax(axis=-1), self.logits.shape[-1])

    def _grouped(self, latents: Latents) -> Float[Array, "*shape groups classes"]:
        return latents.reshape(*latents.shape[:-1], *self.logits.shape[-2:])

    def _flat(self, grouped: Float[Array, "*shape groups classes"]) -> Latents:
        return grouped.reshape(*grouped.shape[:-2], -1)


def kl_by_group(q: OneHot, p: OneHot) -> Float[Array, "*batch groups"]:
    """Return KL(q || p) of each group in nats: sum_k q_k (log q_k - log p_k)."""
    log_q = q.log_probabilities
    return (jnp.exp(log_q) * (log_q - p.log_probabilities)).sum(axis=-1)
