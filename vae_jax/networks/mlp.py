"""Fully connected bodies, plain or gated."""

import math
from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.networks.activations import Activation, Link


class GatedDense(nnx.Module):
    """(x W) * sigmoid(x V), the layer of Tomczak & Welling 2017 (arXiv 1705.07120, section 5)."""

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs) -> None:
        self.value = nnx.Linear(in_features, out_features, rngs=rngs)
        self.gate = nnx.Linear(in_features, out_features, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        return self.value(x) * jax.nn.sigmoid(self.gate(x))


class MLP(nnx.Module):
    """Hidden layers of the given widths; gated layers bring their own non-linearity."""

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int],
        *,
        activation: Activation,
        gated: bool,
        rngs: nnx.Rngs,
    ) -> None:
        layer = GatedDense if gated else nnx.Linear
        sizes = [in_features, *widths]
        self.layers = nnx.List(
            [layer(size, width, rngs=rngs) for size, width in zip(sizes, widths, strict=False)]
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
        rngs: nnx.Rngs,
    ) -> None:
        self.mlp = MLP(
            math.prod(image_shape), widths, activation=activation, gated=gated, rngs=rngs
        )
        self.num_features = self.mlp.num_features

    def __call__(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch features"]:
        return self.mlp(images.reshape(*images.shape[:-3], -1))


class MLPDecoder(nnx.Module):
    """Latents to images; `widths` in the order in which the latents meet them."""

    def __init__(
        self,
        latent_size: int,
        image_shape: tuple[int, int, int],
        widths: Sequence[int],
        *,
        activation: Activation,
        gated: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.mlp = MLP(latent_size, widths, activation=activation, gated=gated, rngs=rngs)
        self.output = nnx.Linear(self.mlp.num_features, math.prod(image_shape), rngs=rngs)
        self.image_shape = image_shape

    def set_output_bias(
        self, mean_image: Float[Array, "height width channels"], link: Link
    ) -> None:
        """Start the last layer's bias at `link(mean_image)`."""
        self.output.bias = nnx.Param(link(mean_image).reshape(-1))

    def __call__(
        self, latents: Float[Array, "*batch latents"]
    ) -> Float[Array, "*batch height width channels"]:
        images = self.output(self.mlp(latents))
        return images.reshape(*latents.shape[:-1], *self.image_shape)
