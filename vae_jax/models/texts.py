"""p(text|z) of an autoregressive decoder."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from vae_jax.data.captions.vocabulary import BEGIN, END, PAD
from vae_jax.networks.text import Speaker, TextDecoder


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts, a word at a time.

    Attributes:
      decoder: gives the probabilities of each next word.
      latents: what the texts are about, `[*batch, latents]`.
      context: what the decoder is told of the texts that `log_prob` is asked about,
        `[*batch, length]`; None for the texts themselves, as in any evaluation.
    """

    decoder: TextDecoder
    latents: Float[Array, "*batch latents"]
    context: Int[Array, "*rows length"] | None = None

    @property
    def mean(self) -> Int[Array, "*batch length"]:
        """The texts that stand for the distribution: the likeliest word at every place."""
        return self.greedy()

    def log_prob(self, value: Int[Array, "*rows length"]) -> Float[Array, "*batch"]:
        """Return log probability in nats of rows of word numbers, up to END."""
        return self.log_prob_by_word(value).sum(axis=-1)

    def log_prob_by_word(self, value: Int[Array, "*rows length"]) -> Float[Array, "*batch length"]:
        """Return the same of each word given those before it, teacher forcing; 0 at PAD."""
        told = value if self.context is None else self.context
        logits = self.decoder.word_logits(self.latents, told)
        said = value[..., None] == jnp.arange(logits.shape[-1])
        chosen = jnp.where(said, logits, 0).sum(axis=-1)
        return jnp.where(value != PAD, chosen - jax.nn.logsumexp(logits, axis=-1), 0)

    def greedy(self) -> Int[Array, "*batch length"]:
        """Return the likeliest word at every place, given those before it."""
        keys = jnp.zeros(self.decoder.length)
        return self._speak(keys, lambda _, logits: logits.argmax(axis=-1))

    def sample(self, key: Key[Array, ""]) -> Int[Array, "*batch length"]:
        """Return one draw (no gradient flows through it)."""
        return self._speak(jax.random.split(key, self.decoder.length), jax.random.categorical)

    def _speak(
        self, keys: Array, choose: Callable[[Array, Array], Array]
    ) -> Int[Array, "*batch length"]:
        batch = self.latents.shape[:-1]

        def say(
            state: tuple[Speaker, Array, Array], now: tuple[Array, Array]
        ) -> tuple[tuple[Speaker, Array, Array], Array]:
            speaker, before, has_ended = state
            key, place = now
            speaker, logits = self.decoder.next_word(speaker, before, place)
            word = jnp.where(has_ended, PAD, choose(key, logits).astype(jnp.int32))
            return (speaker, word, has_ended | (word == END)), word

        start = (
            self.decoder.begin(self.latents),
            jnp.full(batch, BEGIN, jnp.int32),
            jnp.zeros(batch, bool),
        )
        _, words = jax.lax.scan(say, start, (keys, jnp.arange(self.decoder.length)))
        return jnp.moveaxis(words, 0, -1)
