"""The settings of a model's encoder and decoder."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.models.interfaces import Decoder, Encoder, Likelihood, StartsAtMean
from vae_jax.networks.choices import (
    DECODERS,
    ENCODERS,
    DecoderPart,
    EncoderPart,
    ImageShape,
)
from vae_jax.settings import integer, name_of, one_of, part, register


@register(DECODERS, "mirror")
@dataclasses.dataclass(frozen=True)
class MirrorSettings:
    """The layers of the encoder in reverse."""

    def build(
        self, latent_size: int, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs
    ) -> Decoder:
        """Raise TypeError: the encoder's settings build the decoder (`Networks.decoder_part`)."""
        raise TypeError("a mirror has no layers of its own")


@dataclasses.dataclass(frozen=True)
class Networks:
    """Settings of a model's encoder and decoder."""

    takes: ClassVar[Literal["images", "modalities"]] = "images"

    latent_size: int = integer(32, "Latent dimensions.", at_least=1)
    encoder: EncoderPart = part("mlp", ENCODERS, EncoderPart, "Images to features.")
    decoder: DecoderPart = part("mirror", DECODERS, DecoderPart, "Latents to images.")
    decoder_start: str = one_of(
        "mean_image",
        ["grey", "mean_image"],
        "The image that the decoder starts at. At the mean image rectifiers with many latents may "
        "collapse at once, unless the KL is warmed up.",
    )

    def problem(self) -> str | None:
        """Return why these parts do not fit together; None if they do."""
        if self._mirrors and not hasattr(self.encoder, "mirror"):
            known = ", ".join(sorted(set(DECODERS) - {"mirror"}))
            return (
                f"decoder='mirror' needs an encoder with a mirror, which "
                f"encoder={name_of(self.encoder)!r} does not have; use a decoder such as {known}"
            )
        return None

    @property
    def _mirrors(self) -> bool:
        return isinstance(self.decoder, MirrorSettings)

    @property
    def decoder_part(self) -> DecoderPart:
        """The settings that the decoder is built from."""
        mirrored: Any = self.encoder
        return mirrored.mirror() if self._mirrors else self.decoder

    def smallest_side(self) -> int:
        """Return the smallest side, in pixels, that both networks take."""
        methods = (getattr(p, "smallest_side", None) for p in (self.encoder, self.decoder_part))
        return max([1, *(method() for method in methods if method is not None)])

    def build_networks(
        self,
        image_shape: ImageShape,
        likelihood: Likelihood,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        rngs: nnx.Rngs,
    ) -> tuple[Encoder, Decoder]:
        """Return the encoder and the decoder with fresh parameters.

        The decoder starts at the mean image or at grey, unless `mean_image` is None.
        """
        encoder = self.encoder.build(image_shape, rngs=rngs)
        decoder = self.decoder_part.build(
            self.latent_size, image_shape, likelihood.outputs_per_channel, rngs=rngs
        )
        # A decoder from outside the package need not have `set_output_bias`.
        if mean_image is not None and isinstance(decoder, StartsAtMean):
            grey = self.decoder_start == "grey"
            start = jnp.full_like(mean_image, 0.5) if grey else mean_image
            decoder.set_output_bias(start, likelihood.output_for_mean)
        return encoder, decoder
