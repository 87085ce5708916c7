"""Blocks of convolutions through fewer channels, without normalisation."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.networks.activations import Activation
from vae_jax.networks.convolution import Conv
from vae_jax.networks.initializers import Initializer
from vae_jax.networks.precision import ComputeDtype

_KERNEL_SIZE = 3


class BottleneckBlock(nnx.Module):
    """Four convolutions with kernels of 1, 3, 3 and 1 pixels, each after an activation.

    Those in the middle have `width` channels (Child 2021, arXiv 2011.10650, figure 3 and its code).
    There is no skip path; `last_init` starts the last convolution.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        activation: Activation,
        last_init: Initializer,
        dtype: ComputeDtype = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        self.first = Conv(in_channels, width, 1, **options)
        self.middle = nnx.List([Conv(width, width, _KERNEL_SIZE, **options) for _ in range(2)])
        self.last = Conv(width, out_channels, 1, kernel_init=last_init, **options)
        self.activation = activation

    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        context: Float[Array, "_num height width _width"] | float = 0.0,
    ) -> Float[Array, "_num height width outputs"]:
        """Return the block's output; `context` is added to the first convolution's.

        A single image serves a batch of contexts.
        """
        hidden = self.first(self.activation(images)) + context
        for convolution in self.middle:
            hidden = convolution(self.activation(hidden))
        return self.last(self.activation(hidden))


def scaled_lecun(depth: int) -> Initializer:
    """Return LeCun's initializer over sqrt(depth).

    The last convolutions of `depth` residual branches then add up to a variance of one branch
    (Child 2021, section 3.2).
    """
    return nnx.initializers.variance_scaling(1.0 / depth, "fan_in", "normal")
