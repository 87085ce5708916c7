"""Residual convolutional networks, for larger and coloured images.

Each level of an encoder has blocks that keep the image's size, then a convolution that halves it; a
decoder runs the same in reverse. Images are normalised inside the blocks but not on the skip path,
not even at its end. There they would lose their brightness and contrast, without which the networks
learn much more slowly.

Most of the arithmetic is at the level next to the image, unless it sees squares of pixels as one.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.networks.activations import Activation, Link
from vae_jax.networks.choices import DECODERS, ENCODERS, ImageShape, shared_settings
from vae_jax.networks.conv import (
    ConvolutionalSettings,
    Downsampling,
    Upsampling,
    doubling_layer,
    halving_layer,
    level_sizes,
    max_pool,
    resize_nearest,
)
from vae_jax.networks.convolution import Conv
from vae_jax.networks.initializers import LECUN, Initializer
from vae_jax.networks.input_range import InputRange, InputRangeSettings, to_input_range
from vae_jax.networks.mlp import MLP
from vae_jax.networks.normalization import GroupNorm
from vae_jax.networks.precision import ComputeDtype, Dense
from vae_jax.settings import flag, integer, one_of, register

Images = Float[Array, "batch height width channels"]
Squares = Float[Array, "batch rows columns square"]

# Side of the kernels that keep the size; an even kernel would shift the image by half a pixel.
_KERNEL_SIZE = 3


def squares_to_channels(images: Images, side: int) -> Squares:
    """Return images whose pixels are the squares of `side` pixels, with all their channels.

    Images are continued at the edge to whole squares.
    """
    batch, height, width, channels = images.shape
    edges = ((0, 0), (0, -height % side), (0, -width % side), (0, 0))
    images = jnp.pad(images, edges, mode="edge")
    rows, columns = images.shape[1] // side, images.shape[2] // side
    squares = images.reshape(batch, rows, side, columns, side, channels).swapaxes(2, 3)
    return squares.reshape(batch, rows, columns, side * side * channels)


def channels_to_squares(squares: Squares, side: int) -> Images:
    """Return images `side` times the size, with each pixel's channels as a square of pixels.

    Shi et al. 2016 (arXiv 1609.05158, section 2.2).
    """
    batch, rows, columns, channels = squares.shape
    images = squares.reshape(batch, rows, columns, side, side, -1).swapaxes(2, 3)
    return images.reshape(batch, rows * side, columns * side, channels // side**2)


# No activation follows the layers that halve and double an image, and they keep its variance. A
# pixel of a transposed convolution is a sum over a quarter of the kernel.
_DOUBLING_INIT: dict[Upsampling, Initializer] = {
    "resize": LECUN,
    "transpose": nnx.initializers.variance_scaling(4.0, "fan_in", "normal"),
}

# Outputs start near the bias, and so near the data's mean. They differ enough for outputs of equal
# meaning, such as the components of a mixture, to part.
_OUTPUT_INIT: Initializer = nnx.initializers.variance_scaling(0.05, "fan_in", "normal")


class ResidualBlock(nnx.Module):
    """Images plus two convolutions of them, each after normalisation and activation.

    He et al. 2016 (arXiv 1603.05027, figure 1b). The second convolution starts at 0, and so the
    block as the identity: a deep network starts as a shallow one.
    """

    def __init__(
        self, channels: int, *, activation: Activation, dtype: ComputeDtype, rngs: nnx.Rngs
    ) -> None:
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        zeros = nnx.initializers.zeros
        self.first_norm = GroupNorm(channels)
        self.first = Conv(channels, channels, _KERNEL_SIZE, **options)
        self.second_norm = GroupNorm(channels)
        self.second = Conv(channels, channels, _KERNEL_SIZE, kernel_init=zeros, **options)
        self.activation = activation

    def __call__(self, images: Images) -> Images:
        hidden = self.first(self.activation(self.first_norm(images)))
        return images + self.second(self.activation(self.second_norm(hidden)))


class ResidualStage(nnx.Module):
    """Residual blocks one after the other.

    With `remat` only the input of each block is kept, and the backward pass computes its inside
    again (Chen et al. 2016, arXiv 1604.06174). Each block then takes the memory of one image, for
    about a third more arithmetic.
    """

    def __init__(
        self,
        channels: int,
        num_blocks: int,
        *,
        activation: Activation,
        remat: bool,
        dtype: ComputeDtype,
        rngs: nnx.Rngs,
    ) -> None:
        self.blocks = nnx.List(
            [
                ResidualBlock(channels, activation=activation, dtype=dtype, rngs=rngs)
                for _ in range(num_blocks)
            ]
        )
        self.remat = remat
        self.dtype = dtype

    def __call__(self, images: Images) -> Images:
        # The images between the blocks are those that stay in memory.
        images = images.astype(self.dtype)
        if self.remat:
            return self._scan(images)
        for block in self.blocks:
            images = block(images).astype(self.dtype)
        return images

    def _scan(self, images: Images) -> Images:
        graphdefs, params = zip(*(nnx.split(block) for block in self.blocks), strict=True)

        def apply(images: Images, params: nnx.State) -> tuple[Images, None]:
            return nnx.merge(graphdefs[0], params)(images).astype(self.dtype), None

        # A loop: outside of one, XLA's CPU backend recognises the repeated computation and keeps
        # its result after all. Inside one it does not, and `prevent_cse` is not needed.
        step = jax.checkpoint(apply, prevent_cse=False)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
        return jax.lax.scan(step, images, stacked)[0]


class ResidualEncoder(nnx.Module):
    """Images to features: `num_blocks` residual blocks per level, then hidden layers of `widths`.

    The first level sees squares of `square` pixels as one. `channels` has the number of channels of
    each level. A level ends in a convolution of `kernel_size` that halves the image: "stride"
    (strided) or "pool" (max pooling after it).
    `kernel_init` starts the hidden layers; products run in `dtype`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: Sequence[int],
        widths: Sequence[int],
        *,
        num_blocks: int,
        kernel_size: int,
        downsampling: Downsampling,
        activation: Activation,
        square: int = 1,
        input_range: InputRange = "unit",
        remat: bool = False,
        dtype: ComputeDtype = jnp.float32,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        inputs = image_shape[2] * square**2
        self.input = Conv(inputs, channels[0], _KERNEL_SIZE, kernel_init=LECUN, **options)
        self.stages = nnx.List(
            [
                ResidualStage(size, num_blocks, activation=activation, remat=remat, **options)
                for size in channels
            ]
        )
        outputs = [*channels[1:], channels[-1]]
        self.halvings = nnx.List(
            [
                halving_layer(
                    channels[i], outputs[i], kernel_size, downsampling, kernel_init=LECUN, **options
                )
                for i in range(len(channels))
            ]
        )
        smallest = level_sizes(_in_squares(image_shape, square), len(channels))[-1]
        self.mlp = MLP(
            math.prod(smallest) * channels[-1],
            widths,
            activation=activation,
            gated=False,
            kernel_init=kernel_init,
            **options,
        )
        self.pool = downsampling == "pool"
        self.square = square
        self.activation = activation
        self.input_range: InputRange = input_range
        self.num_features = self.mlp.num_features

    def __call__(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch features"]:
        images = to_input_range(images, self.input_range)
        x = self.input(squares_to_channels(images.reshape(-1, *images.shape[-3:]), self.square))
        for stage, halving in zip(self.stages, self.halvings, strict=True):
            x = halving(stage(x))
            if self.pool:
                x = max_pool(x)
        x = self.activation(x)
        return self.mlp(x.reshape(*images.shape[:-3], -1))


class ResidualDecoder(nnx.Module):
    """Latents to images: the mirror of `ResidualEncoder`, given the same arguments.

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
        num_blocks: int,
        kernel_size: int,
        upsampling: Upsampling,
        activation: Activation,
        outputs_per_channel: int = 1,
        square: int = 1,
        remat: bool = False,
        dtype: ComputeDtype = jnp.float32,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        dense: dict[str, Any] = {"kernel_init": kernel_init, **options}
        sizes = level_sizes(_in_squares(image_shape, square), len(channels))[::-1]
        outputs = channels[::-1]
        inputs = [channels[-1], *outputs]
        self.start_shape = (*sizes[0], channels[-1])
        self.mlp = MLP(latent_size, widths[::-1], activation=activation, gated=False, **dense)
        self.start = Dense(self.mlp.num_features, math.prod(self.start_shape), **dense)
        self.doublings = nnx.List(
            [
                doubling_layer(
                    inputs[i],
                    outputs[i],
                    kernel_size,
                    upsampling,
                    kernel_init=_DOUBLING_INIT[upsampling],
                    **options,
                )
                for i in range(len(channels))
            ]
        )
        self.stages = nnx.List(
            [
                ResidualStage(size, num_blocks, activation=activation, remat=remat, **options)
                for size in outputs
            ]
        )
        num_outputs = image_shape[2] * outputs_per_channel * square**2
        self.output = Conv(
            channels[0], num_outputs, _KERNEL_SIZE, kernel_init=_OUTPUT_INIT, **options
        )
        self.resize = upsampling == "resize"
        self.activation = activation
        self.sizes = tuple(sizes[1:])
        self.square, self.image_size = square, image_shape[:2]

    def set_output_bias(
        self, mean_image: Float[Array, "height width channels"], link: Link
    ) -> None:
        """Start the last layer's bias, one value per output, at `link` of the mean pixel."""
        bias = link(mean_image.mean(axis=(0, 1)))
        self.output.bias = nnx.Param(jnp.tile(bias, self.square**2))

    def __call__(
        self, latents: Float[Array, "*batch latents"]
    ) -> Float[Array, "*batch height width outputs"]:
        x = self.start(self.mlp(latents)).reshape(-1, *self.start_shape)
        for doubling, stage, (height, width) in zip(
            self.doublings, self.stages, self.sizes, strict=True
        ):
            x = stage(doubling(resize_nearest(x) if self.resize else x)[:, :height, :width])
        x = channels_to_squares(self.output(self.activation(x)), self.square)
        height, width = self.image_size
        x = x[:, :height, :width]
        return x.reshape(*latents.shape[:-1], *x.shape[1:])


def _in_squares(image_shape: tuple[int, int, int], square: int) -> tuple[int, int, int]:
    height, width, channels = image_shape
    return -(-height // square), -(-width // square), channels * square**2


@dataclasses.dataclass(frozen=True)
class _Residual(ConvolutionalSettings):
    """The settings that residual encoders and decoders share."""

    square: int = integer(
        1,
        "Side of the squares of pixels that the level next to the image sees as one pixel; 4 takes "
        "a sixteenth of the arithmetic there.",
        at_least=1,
        at_most=64,
    )
    blocks: int = integer(2, "Residual blocks per level.", at_least=1, at_most=1000)
    remat: bool = flag(
        False, "Compute the inside of blocks again in the backward pass, to save memory."
    )

    def _options(self, rngs: nnx.Rngs) -> dict[str, Any]:
        own = {"num_blocks": self.blocks, "remat": self.remat, "square": self.square}
        return {**own, **self.options(rngs)}

    def smallest_side(self) -> int:
        """Return the smallest side, in pixels, that every level can halve."""
        return self.square * super().smallest_side()


@register(DECODERS, "resnet")
@dataclasses.dataclass(frozen=True)
class ResidualDecoderSettings(_Residual):
    """Residual blocks at each level, from the latents to the image."""

    upsampling: Upsampling = one_of(
        "transpose",
        get_args(Upsampling),
        "How a level doubles the image: a transposed convolution, or resize, then a convolution.",
    )

    def build(
        self, latent_size: int, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs
    ) -> ResidualDecoder:
        """Return the decoder with fresh parameters."""
        return ResidualDecoder(
            latent_size,
            image_shape,
            upsampling=self.upsampling,
            outputs_per_channel=outputs_per_channel,
            **self._options(rngs),
        )


@register(ENCODERS, "resnet")
@dataclasses.dataclass(frozen=True)
class ResidualEncoderSettings(InputRangeSettings, _Residual):
    """Pre-activation residual blocks at each level (He et al. 2016), then dense layers."""

    downsampling: Downsampling = one_of(
        "stride",
        get_args(Downsampling),
        "How a level halves the image: a strided convolution, or a convolution, then max pooling.",
    )

    def build(self, image_shape: ImageShape, *, rngs: nnx.Rngs) -> ResidualEncoder:
        """Return the encoder with fresh parameters."""
        return ResidualEncoder(
            image_shape,
            downsampling=self.downsampling,
            input_range=self.input_range,
            **self._options(rngs),
        )

    def mirror(self) -> ResidualDecoderSettings:
        """Return the settings of the same layers in reverse, by transposed convolutions."""
        return ResidualDecoderSettings(**shared_settings(self, ResidualDecoderSettings))
