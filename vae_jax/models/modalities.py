"""Modalities: the encoder, the decoder and the likelihood p(x|z) of each kind of data."""

from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from vae_jax.distributions import Classes, Distribution
from vae_jax.models.interfaces import Decoder, Encoder, Likelihood
from vae_jax.models.texts import Texts
from vae_jax.networks.classes import ClassDecoder, ClassEncoder
from vae_jax.networks.text import TextDecoder, TextEncoder

# A batch of one modality: images, classes `[batch]`, or word indices `[batch, length]`.
Values = Array


class Form(NamedTuple):
    """The form of a modality's examples.

    Attributes:
      kind: the kind of data.
      shape: height, width and channels of an image; the number of classes; the length of a text's
        rows.
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
      decoder: latents to the parameters of a likelihood.
    """

    encoder: Any
    decoder: Any

    def decode(
        self, latents: Float[Array, "*batch latents"], context: Values | None = None, /
    ) -> Distribution:
        """Return p(x|z). An autoregressive decoder is given `context` instead of x, if any."""


class ImageModality(nnx.Module):
    """Images, with the networks and likelihoods of a VAE of images."""

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
    """Classes 0, 1, ..."""

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
    """Texts as rows of word indices."""

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


def placeholder(form: Form, num: int) -> np.ndarray:
    """Return values for a missing modality; no result depends on them."""
    dtype = np.float32 if form.kind == "image" else np.int32
    return np.zeros((num, *form.array_shape), dtype)
