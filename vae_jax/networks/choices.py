"""The tables of networks that a config chooses from, and the interface of each kind."""

import dataclasses
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

    Two methods are optional. `mirror` returns the settings of a decoder, for models whose decoder
    is "mirror". `smallest_side` returns the smallest side of an image in pixels; smaller images
    are refused in one line.
    """

    def build(self, image_shape: ImageShape, *, rngs: nnx.Rngs) -> Any:
        """Return the encoder (`vae_jax.models.interfaces.Encoder`) with fresh parameters."""


@runtime_checkable
class LayersPart(Protocol):
    """Settings of hidden layers between two vectors."""

    widths: tuple[int, ...]

    def build(self, in_features: int, *, rngs: nnx.Rngs) -> Any:
        """Return the layers, which have `num_features`, with fresh parameters."""


ENCODERS: dict[str, type] = {}
DECODERS: dict[str, type] = {}
LAYERS: dict[str, type] = {}


def shared_settings(part: Any, other: type) -> dict[str, Any]:
    """Return the values of the settings of a part that another class of settings has too."""
    known = {field.name for field in dataclasses.fields(other)}
    return {name: value for name, value in dataclasses.asdict(part).items() if name in known}
