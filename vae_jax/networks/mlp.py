"""Fully connected networks, plain or gated."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.networks.activations import ACTIVATIONS, Activation, Link
from vae_jax.networks.choices import DECODERS, ENCODERS, LAYERS, ImageShape, shared_settings
from vae_jax.networks.initializers import INITIALIZERS, LECUN, Initializer
from vae_jax.networks.input_range import InputRange, InputRangeSettings, to_input_range
from vae_jax.networks.precision import COMPUTE_DTYPES, ComputeDtype, Dense
from vae_jax.settings import one_of, register, sizes


class GatedDense(nnx.Module):
    """(x W) * sigmoid(x V), the layer of Tomczak & Welling 2017 (arXiv 1705.07120, section 5)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        dtype: ComputeDtype = jnp.float32,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        options: dict[str, Any] = {"dtype": dtype, "kernel_init": kernel_init, "rngs": rngs}
        self.value = Dense(in_features, out_features, **options)
        self.gate = Dense(in_features, out_features, **options)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        return self.value(x) * jax.nn.sigmoid(self.gate(x))


class MLP(nnx.Module):
    """Hidden layers of the given widths, their products in `dtype`.

    Gated layers bring their own non-linearity.
    """

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int],
        *,
        activation: Activation,
        gated: bool,
        dtype: ComputeDtype = jnp.float32,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        layer = GatedDense if gated else Dense
        sizes = [in_features, *widths]
        self.layers = nnx.List(
            [
                layer(size, width, dtype=dtype, kernel_init=kernel_init, rngs=rngs)
                for size, width in zip(sizes, widths, strict=False)
            ]
        )
        self.activation: Activation | None = None if gated else activation
        self.num_features = sizes[-1]

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        for layer in self.layers:
            x = layer(x)
            if self.activation is not None:
                x = self.activation(x)
        return x


class MLPEncoder(nnx.Module):
    """Images to features through hidden layers of the given widths."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        widths: Sequence[int],
        *,
        activation: Activation,
        gated: bool = False,
        input_range: InputRange = "unit",
        dtype: ComputeDtype = jnp.float32,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.mlp = MLP(
            math.prod(image_shape),
            widths,
            activation=activation,
            gated=gated,
            dtype=dtype,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        self.input_range: InputRange = input_range
        self.num_features = self.mlp.num_features

    def __call__(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch features"]:
        images = to_input_range(images, self.input_range)
        return self.mlp(images.reshape(*images.shape[:-3], -1))


class MLPDecoder(nnx.Module):
    """Latents to images through hidden layers; `widths` runs from the latents on.

    Each channel of a pixel has `outputs_per_channel` outputs, side by side.
    """

    def __init__(
        self,
        latent_size: int,
        image_shape: tuple[int, int, int],
        widths: Sequence[int],
        *,
        activation: Activation,
        gated: bool = False,
        outputs_per_channel: int = 1,
        dtype: ComputeDtype = jnp.float32,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.mlp = MLP(
            latent_size,
            widths,
            activation=activation,
            gated=gated,
            dtype=dtype,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        height, width, channels = image_shape
        self.output_shape = (height, width, channels * outputs_per_channel)
        self.output = Dense(
            self.mlp.num_features,
            math.prod(self.output_shape),
            dtype=dtype,
            kernel_init=kernel_init,
            rngs=rngs,
        )

    def set_output_bias(
        self, mean_image: Float[Array, "height width channels"], link: Link
    ) -> None:
        """Start the last layer's bias at `link(mean_image)`."""
        self.output.bias = nnx.Param(link(mean_image).reshape(-1))

    def __call__(
        self, latents: Float[Array, "*batch latents"]
    ) -> Float[Array, "*batch height width outputs"]:
        outputs = self.output(self.mlp(latents))
        return outputs.reshape(*latents.shape[:-1], *self.output_shape)


@dataclasses.dataclass(frozen=True)
class _Dense:
    """The settings that dense encoders and decoders of images share."""

    widths: tuple[int, ...] = sizes((400,), "Hidden layers, from the image to the latents.")
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the matrices.")
    compute_dtype: str = one_of(
        "float32", list(COMPUTE_DTYPES), "Type of the products; parameters and sums stay float32."
    )

    def _options(self, rngs: nnx.Rngs) -> dict[str, Any]:
        return {
            "kernel_init": INITIALIZERS[self.initializer],
            "dtype": COMPUTE_DTYPES[self.compute_dtype],
            "rngs": rngs,
        }

    def _decoder(
        self,
        latent_size: int,
        image_shape: ImageShape,
        outputs_per_channel: int,
        activation: Activation | None,
        rngs: nnx.Rngs,
    ) -> MLPDecoder:
        return MLPDecoder(
            latent_size,
            image_shape,
            list(self.widths)[::-1],
            activation=activation or jax.nn.silu,
            gated=activation is None,
            outputs_per_channel=outputs_per_channel,
            **self._options(rngs),
        )


@register(DECODERS, "mlp")
@dataclasses.dataclass(frozen=True)
class MLPDecoderSettings(_Dense):
    """Dense layers from the latents to the image, in the reverse order of `widths`."""

    activation: str = one_of("silu", list(ACTIVATIONS), "Activation of the hidden layers.")

    def build(
        self, latent_size: int, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs
    ) -> MLPDecoder:
        """Return the decoder with fresh parameters."""
        activation = ACTIVATIONS[self.activation]
        return self._decoder(latent_size, image_shape, outputs_per_channel, activation, rngs)


@register(ENCODERS, "mlp")
@dataclasses.dataclass(frozen=True)
class MLPEncoderSettings(InputRangeSettings, _Dense):
    """Dense layers from the image on."""

    activation: str = one_of("silu", list(ACTIVATIONS), "Activation of the hidden layers.")

    def build(self, image_shape: ImageShape, *, rngs: nnx.Rngs) -> MLPEncoder:
        """Return the encoder with fresh parameters."""
        activation = ACTIVATIONS[self.activation]
        return MLPEncoder(
            image_shape,
            list(self.widths),
            activation=activation,
            input_range=self.input_range,
            **self._options(rngs),
        )

    def mirror(self) -> MLPDecoderSettings:
        """Return the settings of the same layers in reverse."""
        return MLPDecoderSettings(**shared_settings(self, MLPDecoderSettings))


@register(DECODERS, "gated_mlp")
@dataclasses.dataclass(frozen=True)
class GatedMLPDecoderSettings(_Dense):
    """Gated dense layers (x W) * sigmoid(x V), in the reverse order of `widths`."""

    def build(
        self, latent_size: int, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs
    ) -> MLPDecoder:
        """Return the decoder with fresh parameters."""
        return self._decoder(latent_size, image_shape, outputs_per_channel, None, rngs)


@register(ENCODERS, "gated_mlp")
@dataclasses.dataclass(frozen=True)
class GatedMLPEncoderSettings(InputRangeSettings, _Dense):
    """Gated dense layers (x W) * sigmoid(x V) (Tomczak & Welling 2017, arXiv 1705.07120)."""

    def build(self, image_shape: ImageShape, *, rngs: nnx.Rngs) -> MLPEncoder:
        """Return the encoder with fresh parameters."""
        return MLPEncoder(
            image_shape,
            list(self.widths),
            activation=jax.nn.silu,
            gated=True,
            input_range=self.input_range,
            **self._options(rngs),
        )

    def mirror(self) -> GatedMLPDecoderSettings:
        """Return the settings of the same layers in reverse."""
        return GatedMLPDecoderSettings(**shared_settings(self, GatedMLPDecoderSettings))


@register(LAYERS, "mlp")
@dataclasses.dataclass(frozen=True)
class MLPSettings:
    """Dense layers between two vectors."""

    widths: tuple[int, ...] = sizes((), "Hidden layers; () is none.", may_be_empty=True)
    activation: str = one_of("silu", list(ACTIVATIONS), "Activation of the hidden layers.")
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the matrices.")

    def build(self, in_features: int, *, rngs: nnx.Rngs) -> MLP:
        """Return the layers with fresh parameters."""
        return MLP(
            in_features,
            list(self.widths),
            activation=ACTIVATIONS[self.activation],
            gated=False,
            kernel_init=INITIALIZERS[self.initializer],
            rngs=rngs,
        )


@register(LAYERS, "gated_mlp")
@dataclasses.dataclass(frozen=True)
class GatedMLPSettings:
    """Gated dense layers (x W) * sigmoid(x V) between two vectors."""

    widths: tuple[int, ...] = sizes((), "Hidden layers; () is none.", may_be_empty=True)
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the matrices.")

    def build(self, in_features: int, *, rngs: nnx.Rngs) -> MLP:
        """Return the layers with fresh parameters."""
        return MLP(
            in_features,
            list(self.widths),
            activation=jax.nn.silu,
            gated=True,
            kernel_init=INITIALIZERS[self.initializer],
            rngs=rngs,
        )
