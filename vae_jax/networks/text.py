"""Networks of texts: rows of word indices to features, and latents to one word after another.

A row has the indices of its words, END, and PAD to its end (vae_jax/data/captions/vocabulary.py).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from vae_jax.data.captions.vocabulary import BEGIN, END, PAD, UNKNOWN
from vae_jax.networks.activations import ACTIVATIONS, Activation
from vae_jax.networks.initializers import INITIALIZERS, LECUN, Initializer
from vae_jax.networks.precision import Dense
from vae_jax.settings import integer, one_of

Ids = Int[Array, "*batch length"]

# The logit of impossible words. An infinite one would give NaN gradients.
_IMPOSSIBLE = -1e9

# Width of the convolutions in words; odd.
_KERNEL_SIZE = 3


class Embedding(nnx.Module):
    """Word indices to vectors."""

    def __init__(self, num_words: int, size: int, *, rngs: nnx.Rngs) -> None:
        # Unit variance, since a dense layer follows.
        self.table = nnx.Param(jax.random.normal(rngs.params(), (num_words, size)))

    def __call__(self, ids: Int[Array, "*shape"]) -> Float[Array, "*shape size"]:
        # A product and no gather, whose gradient is a scatter: slow on every platform.
        table = self.table[...]
        return jax.nn.one_hot(ids, table.shape[0]) @ table


class TextEncoder(nnx.Module):
    """Texts to features: embedding, convolutions over neighbouring words, their mean, a layer.

    Positions of PAD are zero in every layer and do not count in the mean: features do not depend on
    the length to which rows are padded.
    """

    def __init__(
        self,
        num_words: int,
        embedding_size: int,
        width: int,
        *,
        num_layers: int = 2,
        activation: Activation,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.embedding = Embedding(num_words, embedding_size, rngs=rngs)
        sizes = [embedding_size] + [width] * num_layers
        self.convolutions = nnx.List(
            [
                Dense(_KERNEL_SIZE * size, width, kernel_init=kernel_init, rngs=rngs)
                for size in sizes[:-1]
            ]
        )
        self.output = Dense(width, width, kernel_init=kernel_init, rngs=rngs)
        self.activation = activation
        self.num_features = width

    def __call__(self, ids: Ids) -> Float[Array, "*batch features"]:
        is_word = (ids != PAD)[..., None]
        x = jnp.where(is_word, self.embedding(ids), 0)
        for convolution in self.convolutions:
            x = jnp.where(is_word, self.activation(convolution(_with_neighbours(x))), 0)
        mean = x.sum(axis=-2) / jnp.maximum(is_word.sum(axis=-2), 1)
        return self.activation(self.output(mean))


def _with_neighbours(
    x: Float[Array, "*batch length size"],
) -> Float[Array, "*batch length window"]:
    """Return each position beside its neighbours; beyond the ends are zeros."""
    reach = _KERNEL_SIZE // 2
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(reach, reach), (0, 0)])
    length = x.shape[-2]
    shifted = [padded[..., first : first + length, :] for first in range(_KERNEL_SIZE)]
    return jnp.concatenate(shifted, axis=-1)


class DecoderState(NamedTuple):
    """The state of a decoder between two words.

    Attributes:
      hidden: its recurrent state.
      gates: the latents' part of the gates, the same at every word.
    """

    hidden: Float[Array, "*batch width"]
    gates: Float[Array, "*batch gates"]


class TextDecoder(nnx.Module):
    """Latents to texts, word by word: a gated recurrent unit (Cho et al. 2014, arXiv 1406.1078).

    The latents start its state and are added to its gates at every word, so that it need not
    remember them. p(text|z) = prod_t p(word_t | words before t, z) over rows of `length`. PAD and
    BEGIN have no probability, and at the last position only END has any. So the probabilities of
    all texts of fewer than `length` words, the empty one among them, sum to 1.
    """

    def __init__(
        self,
        latent_size: int,
        num_words: int,
        length: int,
        embedding_size: int,
        width: int,
        *,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.embedding = Embedding(num_words, embedding_size, rngs=rngs)
        self.start = Dense(latent_size, width, kernel_init=kernel_init, rngs=rngs)
        self.from_latents = Dense(latent_size, 3 * width, kernel_init=kernel_init, rngs=rngs)
        self.from_word = Dense(embedding_size, 3 * width, kernel_init=kernel_init, rngs=rngs)
        self.from_hidden = Dense(width, 3 * width, kernel_init=kernel_init, rngs=rngs)
        self.output = Dense(width, num_words, kernel_init=kernel_init, rngs=rngs)
        self.num_words = num_words
        self.length = length

    def begin(self, latents: Float[Array, "*batch latents"]) -> DecoderState:
        """Return the state before the first word."""
        return DecoderState(jnp.tanh(self.start(latents)), self.from_latents(latents))

    def word_logits(
        self, latents: Float[Array, "*shape latents"], words: Ids
    ) -> Float[Array, "*shape length words"]:
        """Return log p(word_t | words before t, z), not normalised, for all positions at once.

        Args:
          latents: `[*samples, *batch, latents]`.
          words: the texts that the decoder is given, `[*batch, length]`.
        """
        before = jnp.concatenate([jnp.full_like(words[..., :1], BEGIN), words[..., :-1]], axis=-1)
        from_words = jnp.moveaxis(self.from_word(self.embedding(before)), -2, 0)

        def advance(state: DecoderState, from_word: Array) -> tuple[DecoderState, Array]:
            state = self._advance(state, from_word)
            return state, state.hidden

        _, hidden = jax.lax.scan(advance, self.begin(latents), from_words)
        logits = self.output(jnp.moveaxis(hidden, 0, -2))
        return self._without_impossible(logits, jnp.arange(self.length))

    def next_word(
        self, state: DecoderState, word: Int[Array, "*batch"], position: Int[Array, ""]
    ) -> tuple[DecoderState, Float[Array, "*batch words"]]:
        """Return the next state, and the logits at one position, given the word before it."""
        state = self._advance(state, self.from_word(self.embedding(word)))
        logits = self.output(state.hidden)
        return state, self._without_impossible(logits[..., None, :], position[None])[..., 0, :]

    def _advance(
        self, state: DecoderState, from_word: Float[Array, "*batch gates"]
    ) -> DecoderState:
        reset, update, candidate = jnp.split(from_word + state.gates, 3, axis=-1)
        from_hidden = jnp.split(self.from_hidden(state.hidden), 3, axis=-1)
        reset = jax.nn.sigmoid(reset + from_hidden[0])
        update = jax.nn.sigmoid(update + from_hidden[1])
        candidate = jnp.tanh(candidate + reset * from_hidden[2])
        hidden = update * state.hidden + (1 - update) * candidate
        return state._replace(hidden=hidden)

    def _without_impossible(
        self, logits: Float[Array, "*shape positions words"], positions: Int[Array, " positions"]
    ) -> Float[Array, "*shape positions words"]:
        words = jnp.arange(self.num_words)
        is_last = (positions == self.length - 1)[:, None]
        possible = (words != PAD) & (words != BEGIN) & (~is_last | (words == END))
        return jnp.where(possible, logits, _IMPOSSIBLE)


def drop_words(
    key: Key[Array, ""], ids: Int[Array, "batch length"], share: Float[Array, ""]
) -> Int[Array, "batch length"]:
    """Return the texts with each word, END too, replaced by UNKNOWN with probability `share`.

    In training a decoder is given these texts, and must find the dropped words in the latents
    (word dropout, Bowman et al. 2015, arXiv 1511.06349, section 3.2).
    """
    dropped: Bool[Array, "batch length"] = jax.random.bernoulli(key, share, ids.shape)
    return jnp.where(dropped & (ids != PAD), UNKNOWN, ids)


@dataclasses.dataclass(frozen=True)
class TextSettings:
    """Networks of a modality of texts: convolutions read words, a recurrent unit writes them."""

    embedding_size: int = integer(32, "Size of a word's vector.", at_least=1)
    width: int = integer(64, "Width of the encoder and of the decoder.", at_least=1)
    activation: str = one_of("silu", list(ACTIVATIONS), "Activation of the encoder.")
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the matrices.")

    def build_encoder(self, num_words: int, *, rngs: nnx.Rngs) -> TextEncoder:
        """Return the encoder with fresh parameters."""
        return TextEncoder(
            num_words,
            self.embedding_size,
            self.width,
            activation=ACTIVATIONS[self.activation],
            kernel_init=INITIALIZERS[self.initializer],
            rngs=rngs,
        )

    def build_decoder(
        self, latent_size: int, num_words: int, length: int, *, rngs: nnx.Rngs
    ) -> TextDecoder:
        """Return the decoder with fresh parameters."""
        return TextDecoder(
            latent_size,
            num_words,
            length,
            self.embedding_size,
            self.width,
            kernel_init=INITIALIZERS[self.initializer],
            rngs=rngs,
        )
