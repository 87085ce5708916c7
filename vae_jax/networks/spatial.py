"""Convolutional networks between images and grids of vectors, without dense layers."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.networks.activations import Activation, Link
from vae_jax.networks.conv import doubling_layer, halving_layer
from vae_jax.networks.convolution import Conv
from vae_jax.networks.initializers import LECUN
from vae_jax.networks.precision import ComputeDtype
from vae_jax.networks.residual import ResidualStage

_KERNEL_SIZE = 3


class SpatialEncoder(nnx.Module):
    """Images to a grid of vectors: `num_levels` strided convolutions, then residual blocks.

    Every level halves the image. Products run in `dtype`.
    """

    def __init__(
        self,
        image_channels: int,
        channels: int,
        size: int,
        *,
        num_levels: int,
        num_blocks: int,
        kernel_size: int,
        activation: Activation,
        dtype: ComputeDtype = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        inputs = [image_channels, *[channels] * (num_levels - 1)]
        self.halvings = nnx.List(
            [
                halving_layer(number, channels, kernel_size, "stride", dtype=dtype, rngs=rngs)
                for number in inputs
            ]
        )
        self.stage = ResidualStage(
            channels, num_blocks, activation=activation, remat=False, dtype=dtype, rngs=rngs
        )
        self.output = Conv(channels, size, 1, kernel_init=LECUN, dtype=dtype, rngs=rngs)
        self.activation = activation

    def __call__(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch rows columns size"]:
        x = images.reshape(-1, *images.shape[-3:])
        for halving in self.halvings:
            x = self.activation(halving(x))
        x = self.output(self.activation(self.stage(x)))
        return x.reshape(*images.shape[:-3], *x.shape[1:])


class SpatialDecoder(nnx.Module):
    """A flattened grid of vectors to images: the mirror of `SpatialEncoder`.

    Each channel of a pixel has `outputs_per_channel` outputs, side by side.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        size: int,
        channels: int,
        num_outputs: int,
        *,
        num_levels: int,
        num_blocks: int,
        kernel_size: int,
        activation: Activation,
        dtype: ComputeDtype = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.start_shape = (*grid, size)
        self.input = Conv(size, channels, _KERNEL_SIZE, kernel_init=LECUN, dtype=dtype, rngs=rngs)
        self.stage = ResidualStage(
            channels, num_blocks, activation=activation, remat=False, dtype=dtype, rngs=rngs
        )
        outputs = [*[channels] * (num_levels - 1), num_outputs]
        self.doublings = nnx.List(
            [
                doubling_layer(channels, number, kernel_size, "transpose", dtype=dtype, rngs=rngs)
                for number in outputs
            ]
        )
        self.activation = activation

    def set_output_bias(
        self, mean_image: Float[Array, "height width channels"], link: Link
    ) -> None:
        """Start the last layer's bias, one value per output, at `link` of the mean pixel."""
        self.doublings[-1].bias = nnx.Param(link(mean_image.mean(axis=(0, 1))))

    def __call__(
        self, latents: Float[Array, "*batch latents"]
    ) -> Float[Array, "*batch height width outputs"]:
        batch = latents.shape[:-1]
        x = self.stage(self.input(latents.reshape(math.prod(batch), *self.start_shape)))
        for doubling in self.doublings:
            x = doubling(self.activation(x))
        return x.reshape(*batch, *x.shape[1:])
