"""p(text|z) of an autoregressive decoder."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from vae_jax.data.captions.vocabulary import BEGIN, END, PAD
from vae_jax.networks.text import DecoderState, TextDecoder


@dataclasses.dataclass(frozen=True)
class Texts:
    """A distribution over texts, word by word.

    Attributes:
      decoder: gives the probabilities of each next word.
      latents: `[*batch, latents]`.
      context: the texts that the decoder is given in place of the values of `log_prob`,
        `[*batch, length]`; None for the values themselves, as in evaluation.
    """

    decoder: TextDecoder
    latents: Float[Array, "*batch latents"]
    context: Int[Array, "*rows length"] | None = None

    @property
    def mean(self) -> Int[Array, "*batch length"]:
        """The texts that stand for the distribution: the likeliest word at every position."""
        return self.greedy()

    def log_prob(self, value: Int[Array, "*rows length"]) -> Float[Array, "*batch"]:
        """Return log probability in nats of rows of word indices, up to END."""
        return self.log_prob_by_word(value).sum(axis=-1)

    def log_prob_by_word(self, value: Int[Array, "*rows length"]) -> Float[Array, "*batch length"]:
        """Return the log probability of each word given those before it, 0 at PAD, in nats."""
        given = value if self.context is None else self.context
        logits = self.decoder.word_logits(self.latents, given)
        is_value = value[..., None] == jnp.arange(logits.shape[-1])
        chosen = jnp.where(is_value, logits, 0).sum(axis=-1)
        return jnp.where(value != PAD, chosen - jax.nn.logsumexp(logits, axis=-1), 0)

    def greedy(self) -> Int[Array, "*batch length"]:
        """Return the likeliest word at every position, given those before it."""
        keys = jnp.zeros(self.decoder.length)
        return self._generate(keys, lambda _, logits: logits.argmax(axis=-1))

    def sample(self, key: Key[Array, ""]) -> Int[Array, "*batch length"]:
        """Return one draw (no gradient flows through it)."""
        return self._generate(jax.random.split(key, self.decoder.length), jax.random.categorical)

    def _generate(
        self, keys: Array, choose: Callable[[Array, Array], Array]
    ) -> Int[Array, "*batch length"]:
        batch = self.latents.shape[:-1]

        def add_word(
            carry: tuple[DecoderState, Array, Array], step: tuple[Array, Array]
        ) -> tuple[tuple[DecoderState, Array, Array], Array]:
            state, before, has_ended = carry
            key, position = step
            state, logits = self.decoder.next_word(state, before, position)
            word = jnp.where(has_ended, PAD, choose(key, logits).astype(jnp.int32))
            return (state, word, has_ended | (word == END)), word

        start = (
            self.decoder.begin(self.latents),
            jnp.full(batch, BEGIN, jnp.int32),
            jnp.zeros(batch, bool),
        )
        _, words = jax.lax.scan(add_word, start, (keys, jnp.arange(self.decoder.length)))
        return jnp.moveaxis(words, 0, -1)
