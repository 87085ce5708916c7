"""The tables of networks that a config chooses from, and what each kind is asked for."""

from typing import Any, Protocol, runtime_checkable

from flax import nnx

ImageShape = tuple[int, int, int]


@runtime_checkable
class DecoderPart(Protocol):
    """Settings of a decoder: latents to the outputs that a likelihood takes."""

    def build(
        self, latent_size: int, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs
    ) -> Any:
        """Return the decoder (`vae_jax.models.interfaces.Decoder`) with fresh parameters."""


@runtime_checkable
class EncoderPart(Protocol):
    """Settings of an encoder: images to features.

    One that has a method `mirror`, which returns the settings of a decoder, serves a model whose
    decoder is "mirror". One that has a method `smallest_side`, which returns the fewest pixels of
    an image's side, refuses smaller images in one line.
    """

    def build(self, image_shape: ImageShape, *, rngs: nnx.Rngs) -> Any:
        """Return the encoder (`vae_jax.models.interfaces.Encoder`) with fresh parameters."""


@runtime_checkable
class LayersPart(Protocol):
    """Settings of hidden layers of some widths between two vectors."""

    widths: tuple[int, ...]

    def build(self, in_features: int, *, rngs: nnx.Rngs) -> Any:
        """Return the layers, which have `num_features`, with fresh parameters."""


ENCODERS: dict[str, type] = {}
DECODERS: dict[str, type] = {}
LAYERS: dict[str, type] = {}
