"""Masked networks: the outputs for a dimension depend only on the dimensions before it."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.networks.activations import Activation
from vae_jax.networks.initializers import LECUN, Initializer

Degrees = tuple[int, ...]


class MaskedLinear(nnx.Module):
    """A dense layer whose outputs depend on inputs of at most their own degree."""

    def __init__(
        self,
        in_degrees: Degrees,
        out_degrees: Degrees,
        *,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        shape = (len(in_degrees), len(out_degrees))
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(len(out_degrees)))
        # Each call makes the mask from the degrees: an array here would count as a parameter.
        self.in_degrees = in_degrees
        self.out_degrees = out_degrees

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        mask = np.array(self.in_degrees)[:, None] <= np.array(self.out_degrees)
        return x @ jnp.where(mask, self.kernel[...], 0) + self.bias[...]


class MaskedMLP(nnx.Module):
    """Outputs for each dimension, from the dimensions before it and a context, if there is one.

    The masked autoencoder of Germain et al. 2015 (arXiv 1502.03509), with degrees from 0: units of
    degree 0, and so the outputs of the first dimension, depend on the context alone. The last layer
    starts at 0, and so do the outputs.

    `widths` has the widths of the hidden layers, at least one. With `from_last` the dimensions are
    in reverse order.
    """

    def __init__(
        self,
        size: int,
        context_size: int | None,
        widths: Sequence[int],
        *,
        num_outputs: int = 2,
        from_last: bool = False,
        activation: Activation,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        order = tuple(range(size, 0, -1)) if from_last else tuple(range(1, size + 1))
        hidden = [tuple(unit * size // width for unit in range(width)) for width in widths]
        degrees = [order, *hidden]
        if context_size is not None:
            self.context = nnx.Linear(
                context_size, widths[0], use_bias=False, kernel_init=kernel_init, rngs=rngs
            )
        self.layers = nnx.List(
            [
                MaskedLinear(degrees[i], degrees[i + 1], kernel_init=kernel_init, rngs=rngs)
                for i in range(len(widths))
            ]
        )
        before = tuple(degree - 1 for degree in order)
        self.output = MaskedLinear(
            hidden[-1], num_outputs * before, kernel_init=nnx.initializers.zeros, rngs=rngs
        )
        self.output_shape = (num_outputs, size)
        self.activation = activation

    def __call__(
        self,
        x: Float[Array, "*batch size"],
        context: Float[Array, "*any features"] | None = None,
    ) -> Float[Array, "*batch outputs size"]:
        x = self.layers[0](x)
        if context is not None:
            # The context enters once per image, not once per sample.
            x += self.context(context)
        for layer in list(self.layers)[1:]:
            x = layer(self.activation(x))
        return self.output(self.activation(x)).reshape(*x.shape[:-1], *self.output_shape)
