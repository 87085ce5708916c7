"""Convolutional networks: each level halves the image, or doubles it on the way up."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.networks.activations import ACTIVATIONS, Activation, Link
from vae_jax.networks.choices import DECODERS, ENCODERS, ImageShape, shared_settings
from vae_jax.networks.convolution import Conv, ConvTranspose
from vae_jax.networks.initializers import HE, INITIALIZERS, LECUN, Initializer
from vae_jax.networks.input_range import InputRange, InputRangeSettings, to_input_range
from vae_jax.networks.precision import COMPUTE_DTYPES, ComputeDtype, Dense
from vae_jax.settings import integer, one_of, register, sizes

Images = Float[Array, "batch height width channels"]
Resized = Float[Array, "batch rows columns channels"]
Downsampling = Literal["stride", "pool"]
Upsampling = Literal["transpose", "resize"]


def level_sizes(image_shape: tuple[int, int, int], num_levels: int) -> list[tuple[int, int]]:
    """Return height and width at each level, from the image down; odd sizes round up."""
    sizes = [image_shape[:2]]
    for _ in range(num_levels):
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def max_pool(images: Images) -> Resized:
    """Return the maximum of each 2x2 square; an odd last row or column is pooled with itself."""
    batch, height, width, channels = images.shape
    images = jnp.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    squares = images.reshape(batch, -(-height // 2), 2, -(-width // 2), 2, channels)
    return squares.max(axis=(2, 4))


def resize_nearest(images: Images) -> Resized:
    """Return the images with every pixel repeated to a 2x2 square."""
    return images.repeat(2, axis=1).repeat(2, axis=2)


def halving_layer(
    inputs: int,
    outputs: int,
    kernel_size: int,
    downsampling: Downsampling,
    *,
    dtype: ComputeDtype,
    kernel_init: Initializer = HE,
    rngs: nnx.Rngs,
) -> Conv:
    """Return a convolution that halves an image by its stride, or by a `max_pool` after it."""
    stride = 2 if downsampling == "stride" else 1
    options: dict[str, Any] = {"dtype": dtype, "kernel_init": kernel_init, "rngs": rngs}
    return Conv(inputs, outputs, kernel_size, stride, **options)


def doubling_layer(
    inputs: int,
    outputs: int,
    kernel_size: int,
    upsampling: Upsampling,
    *,
    dtype: ComputeDtype,
    kernel_init: Initializer = HE,
    rngs: nnx.Rngs,
) -> Conv | ConvTranspose:
    """Return a convolution that doubles an image, itself or after a `resize_nearest`."""
    options: dict[str, Any] = {"dtype": dtype, "kernel_init": kernel_init, "rngs": rngs}
    if upsampling == "transpose":
        return ConvTranspose(inputs, outputs, kernel_size, 2, **options)
    return Conv(inputs, outputs, kernel_size, **options)


class ConvEncoder(nnx.Module):
    """Images to features: one convolution per level, then hidden layers of `widths`.

    `downsampling` is "stride" (strided convolution) or "pool" (convolution, then max pooling);
    `kernel_init` starts the hidden layers; products run in `dtype`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: Sequence[int],
        widths: Sequence[int],
        *,
        kernel_size: int,
        downsampling: Downsampling,
        activation: Activation,
        input_range: InputRange = "unit",
        dtype: ComputeDtype = jnp.float32,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        inputs = [image_shape[2], *channels]
        self.convolutions = nnx.List(
            [
                halving_layer(
                    inputs[level], outputs, kernel_size, downsampling, dtype=dtype, rngs=rngs
                )
                for level, outputs in enumerate(channels)
            ]
        )
        smallest = level_sizes(image_shape, len(channels))[-1]
        sizes = [math.prod(smallest) * channels[-1], *widths]
        self.dense = nnx.List(
            [
                Dense(sizes[i], width, dtype=dtype, kernel_init=kernel_init, rngs=rngs)
                for i, width in enumerate(widths)
            ]
        )
        self.pool = downsampling == "pool"
        self.activation = activation
        self.input_range: InputRange = input_range
        self.num_features = sizes[-1]

    def __call__(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch features"]:
        batch = images.shape[:-3]
        images = to_input_range(images, self.input_range)
        x = images.reshape(-1, *images.shape[-3:])
        for convolution in self.convolutions:
            x = self.activation(convolution(x))
            if self.pool:
                x = max_pool(x)
        x = x.reshape(x.shape[0], -1)
        for layer in self.dense:
            x = self.activation(layer(x))
        return x.reshape(*batch, -1)


class ConvDecoder(nnx.Module):
    """Latents to images: the mirror of `ConvEncoder`, given the same `channels` and `widths`.

    `upsampling` is "transpose" (transposed convolution) or "resize" (nearest, then convolution).
    Each channel of a pixel has `outputs_per_channel` outputs, side by side.
    """

    def __init__(
        self,
        latent_size: int,
        image_shape: tuple[int, int, int],
        channels: Sequence[int],
        widths: Sequence[int],
        *,
        kernel_size: int,
        upsampling: Upsampling,
        activation: Activation,
        outputs_per_channel: int = 1,
        dtype: ComputeDtype = jnp.float32,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        sizes = level_sizes(image_shape, len(channels))[::-1]
        inputs = channels[::-1]
        outputs = [*inputs[1:], image_shape[2] * outputs_per_channel]
        widths = [latent_size, *widths[::-1], math.prod(sizes[0]) * inputs[0]]
        self.dense = nnx.List(
            [
                Dense(widths[i], width, dtype=dtype, kernel_init=kernel_init, rngs=rngs)
                for i, width in enumerate(widths[1:])
            ]
        )
        self.convolutions = nnx.List(
            [
                doubling_layer(
                    inputs[i], outputs[i], kernel_size, upsampling, dtype=dtype, rngs=rngs
                )
                for i in range(len(inputs))
            ]
        )
        self.resize = upsampling == "resize"
        self.activation = activation
        self.start_shape = (*sizes[0], inputs[0])
        self.sizes = tuple(sizes[1:])

    def set_output_bias(
        self, mean_image: Float[Array, "height width channels"], link: Link
    ) -> None:
        """Start the last layer's bias, one value per output, at `link` of the mean pixel."""
        self.convolutions[-1].bias = nnx.Param(link(mean_image.mean(axis=(0, 1))))

    def __call__(
        self, latents: Float[Array, "*batch latents"]
    ) -> Float[Array, "*batch height width outputs"]:
        x = latents.reshape(-1, latents.shape[-1])
        for layer in self.dense:
            x = self.activation(layer(x))
        x = x.reshape(-1, *self.start_shape)
        for level, (convolution, (height, width)) in enumerate(
            zip(self.convolutions, self.sizes, strict=True)
        ):
            if level > 0:
                x = self.activation(x)
            x = convolution(resize_nearest(x) if self.resize else x)[:, :height, :width]
        return x.reshape(*latents.shape[:-1], *x.shape[1:])


@dataclasses.dataclass(frozen=True)
class ConvolutionalSettings:
    """The settings that convolutional encoders and decoders share.

    Both name `channels` and `widths` from the image to the latents.
    """

    channels: tuple[int, ...] = sizes(
        (32, 64), "Channels of each level, which halves the image once."
    )
    kernel_size: int = integer(4, "Side of the kernels that halve or double the image.", at_least=2)
    widths: tuple[int, ...] = sizes(
        (), "Hidden layers between the convolutions and the latents.", may_be_empty=True
    )
    activation: str = one_of("silu", list(ACTIVATIONS), "Activation between the layers.")
    initializer: str = one_of(
        "lecun", list(INITIALIZERS), "Initializer of the dense layers' matrices."
    )
    compute_dtype: str = one_of(
        "float32", list(COMPUTE_DTYPES), "Type of the products; parameters and sums stay float32."
    )

    def smallest_side(self) -> int:
        """Return the smallest side, in pixels, that every level can halve."""
        return 2 ** len(self.channels)

    def options(self, rngs: nnx.Rngs) -> dict[str, Any]:
        """Return the constructor arguments that encoder and decoder share."""
        return {
            "channels": list(self.channels),
            "widths": list(self.widths),
            "kernel_size": self.kernel_size,
            "activation": ACTIVATIONS[self.activation],
            "kernel_init": INITIALIZERS[self.initializer],
            "dtype": COMPUTE_DTYPES[self.compute_dtype],
            "rngs": rngs,
        }


@register(DECODERS, "conv")
@dataclasses.dataclass(frozen=True)
class ConvDecoderSettings(ConvolutionalSettings):
    """One convolution per level, from the latents to the image."""

    upsampling: Upsampling = one_of(
        "transpose",
        get_args(Upsampling),
        "How a level doubles the image: a transposed convolution, or resize, then a convolution.",
    )

    def build(
        self, latent_size: int, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs
    ) -> ConvDecoder:
        """Return the decoder with fresh parameters."""
        return ConvDecoder(
            latent_size,
            image_shape,
            upsampling=self.upsampling,
            outputs_per_channel=outputs_per_channel,
            **self.options(rngs),
        )


@register(ENCODERS, "conv")
@dataclasses.dataclass(frozen=True)
class ConvEncoderSettings(InputRangeSettings, ConvolutionalSettings):
    """One convolution per level, then dense layers."""

    downsampling: Downsampling = one_of(
        "stride",
        get_args(Downsampling),
        "How a level halves the image: a strided convolution, or a convolution, then max pooling.",
    )

    def build(self, image_shape: ImageShape, *, rngs: nnx.Rngs) -> ConvEncoder:
        """Return the encoder with fresh parameters."""
        return ConvEncoder(
            image_shape,
            downsampling=self.downsampling,
            input_range=self.input_range,
            **self.options(rngs),
        )

    def mirror(self) -> ConvDecoderSettings:
        """Return the settings of the same layers in reverse, by transposed convolutions."""
        return ConvDecoderSettings(**shared_settings(self, ConvDecoderSettings))
