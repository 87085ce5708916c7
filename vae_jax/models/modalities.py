"""One kind of data: what encodes it, and what its likelihood p(x|z) is."""

from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from vae_jax.distributions import Classes, Distribution
from vae_jax.models.interfaces import Decoder, Encoder, Likelihood
from vae_jax.models.texts import Texts
from vae_jax.networks.classes import ClassDecoder, ClassEncoder
from vae_jax.networks.text import TextDecoder, TextEncoder

# A batch of one modality: images, classes `[batch]`, or word numbers `[batch, length]`.
Values = Array


class Form(NamedTuple):
    """The form of a modality's examples.

    Attributes:
      kind: of data.
      shape: image, height, width and channels; class, the number of classes; text, the length of
        its rows.
      words: the words of a text's vocabulary.
    """

    kind: Literal["image", "class", "text"]
    shape: tuple[int, ...]
    words: tuple[str, ...] = ()

    @property
    def array_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return () if self.kind == "class" else self.shape


# The modalities of a model, by name.
Forms = dict[str, Form]


@runtime_checkable
class Modality(Protocol):
    """An encoder and a decoder of one kind of data.

    Attributes:
      encoder: values to features; it has `num_features`.
      decoder: latents to what a likelihood is made of.
    """

    encoder: Any
    decoder: Any

    def decode(
        self, latents: Float[Array, "*batch latents"], context: Values | None = None, /
    ) -> Distribution:
        """Return p(x|z). `context` is what an autoregressive decoder is told of x in place of x."""


class ImageModality(nnx.Module):
    """Images, through the bodies and likelihoods of a VAE of images."""

    def __init__(self, encoder: Encoder, decoder: Decoder, likelihood: Likelihood) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood

    def decode(
        self, latents: Float[Array, "*batch latents"], context: Values | None = None
    ) -> Distribution:
        """Return p(x|z) over `[*batch, height, width, channels]`."""
        del context
        return self.likelihood(self.decoder(latents))


class ClassModality(nnx.Module):
    """Classes from 0."""

    def __init__(self, encoder: ClassEncoder, decoder: ClassDecoder) -> None:
        self.encoder = encoder
        self.decoder = decoder

    def decode(
        self, latents: Float[Array, "*batch latents"], context: Values | None = None
    ) -> Classes:
        """Return p(class|z) over `[*batch]`."""
        del context
        return Classes(self.decoder(latents))


class TextModality(nnx.Module):
    """Texts as rows of word numbers."""

    def __init__(self, encoder: TextEncoder, decoder: TextDecoder) -> None:
        self.encoder = encoder
        self.decoder = decoder

    def decode(
        self,
        latents: Float[Array, "*batch latents"],
        context: Int[Array, "*rows length"] | None = None,
    ) -> Texts:
        """Return p(text|z) over `[*batch, length]`."""
        return Texts(self.decoder, latents, context)


def nothing(form: Form, num: int) -> Values:
    """Return values that stand where a modality is missing; no figure depends on them."""
    dtype = jnp.float32 if form.kind == "image" else jnp.int32
    return jnp.zeros((num, *form.array_shape), dtype)
