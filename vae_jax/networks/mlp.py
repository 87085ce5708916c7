"""Fully connected bodies, plain or gated."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.networks.activations import Activation, Link
from vae_jax.networks.initializers import LECUN, Initializer
from vae_jax.networks.precision import ComputeDtype, Dense


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
        self.num_features = self.mlp.num_features

    def __call__(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch features"]:
        return self.mlp(images.reshape(*images.shape[:-3], -1))


class MLPDecoder(nnx.Module):
    """Latents to images; `widths` in the order in which the latents meet them.

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
