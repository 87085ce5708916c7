"""The settings of a model's encoder and decoder."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.errors import UserError
from vae_jax.models.interfaces import Decoder, Encoder, Likelihood, StartsAtMean
from vae_jax.models.missing_pixels import MaskedEncoder, may_miss_pixels
from vae_jax.models.rows import ColumnsLikelihood, build_row_networks
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


def _check_features(encoder: Any, image_shape: ImageShape, name: str) -> None:
    """Refuse an encoder from outside the package that gives other features than it says.

    Only shapes are computed, and models are built for their shapes before anything is compiled.

    Raises:
      UserError: it has no `num_features`, or the last axis of what it returns has another size.
    """
    if ":" not in name:
        return
    if not callable(encoder):
        raise UserError(f"model.encoder={name!r}: its build returns no network, but {encoder!r}")

    def call(images: Array) -> Any:
        # A copy, whose state may change here.
        return nnx.clone(encoder)(images) if isinstance(encoder, nnx.Module) else encoder(images)

    found = jax.eval_shape(call, jax.ShapeDtypeStruct((2, *image_shape), jnp.float32))
    shape = getattr(found, "shape", None)
    gives = f"{type(found).__name__}" if shape is None else f"shape {list(shape)}"
    where = f"model.encoder={name!r}, called with 2 images of {list(image_shape)}, gives {gives}"
    num_features = getattr(encoder, "num_features", None)
    if num_features is None:
        raise UserError(
            f"{where}, and its network has no num_features; set self.num_features to the number of "
            "features per image"
        )
    if shape != (2, num_features):
        raise UserError(
            f"{where}, and its network has num_features={num_features!r}, so that it must be "
            f"[2, {num_features}]"
        )


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
        condition_size: int = 0,
        rngs: nnx.Rngs,
    ) -> tuple[Encoder, Decoder]:
        """Return the encoder and the decoder with fresh parameters.

        The decoder starts at the mean image or at grey, unless `mean_image` is None; of the rows of
        a table it starts at the columns' means. With features of a condition, `condition_size` of
        them follow the latents that it takes.
        """

        def build_encoder(shape: ImageShape) -> Encoder:
            encoder: Encoder = self.encoder.build(shape, rngs=rngs)
            _check_features(encoder, shape, name_of(self.encoder))
            return encoder

        def build_decoder(shape: ImageShape, outputs_per_channel: int = 1) -> Decoder:
            decoder: Decoder = self.decoder_part.build(
                self.latent_size + condition_size, shape, outputs_per_channel, rngs=rngs
            )
            return decoder

        if isinstance(likelihood, ColumnsLikelihood):
            encoder, decoder = build_row_networks(likelihood, build_encoder, build_decoder)
        else:
            encoder = self._build_image_encoder(image_shape, build_encoder)
            decoder = build_decoder(image_shape, likelihood.outputs_per_channel)
        # A decoder from outside the package need not have `set_output_bias`.
        if mean_image is not None and isinstance(decoder, StartsAtMean):
            grey = self.decoder_start == "grey"
            start = jnp.full_like(mean_image, 0.5) if grey else mean_image
            decoder.set_output_bias(start, likelihood.output_for_mean)
        return encoder, decoder

    def _build_image_encoder(
        self, image_shape: ImageShape, build: Callable[[ImageShape], Encoder]
    ) -> Encoder:
        """Return an encoder of images, which takes a mask beside them if pixels may be missing."""
        if not may_miss_pixels(self):
            return build(image_shape)
        height, width, channels = image_shape
        return MaskedEncoder(build((height, width, 2 * channels)))
