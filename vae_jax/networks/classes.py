"""Bodies for a class: numbers to features, latents to logits."""

from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float, Int

from vae_jax.networks.activations import Activation
from vae_jax.networks.initializers import LECUN, Initializer
from vae_jax.networks.mlp import MLP
from vae_jax.networks.precision import Dense


class ClassEncoder(nnx.Module):
    """Classes from 0, as rows of an identity matrix, through hidden layers of the given widths."""

    def __init__(
        self,
        num_classes: int,
        widths: Sequence[int],
        *,
        activation: Activation,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.mlp = MLP(
            num_classes,
            widths,
            activation=activation,
            gated=False,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        self.num_classes = num_classes
        self.num_features = self.mlp.num_features

    def __call__(self, classes: Int[Array, "*batch"]) -> Float[Array, "*batch features"]:
        return self.mlp(jax.nn.one_hot(classes, self.num_classes))


class ClassDecoder(nnx.Module):
    """Latents to logits; `widths` in the order in which the latents meet them."""

    def __init__(
        self,
        latent_size: int,
        num_classes: int,
        widths: Sequence[int],
        *,
        activation: Activation,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.mlp = MLP(
            latent_size,
            widths,
            activation=activation,
            gated=False,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        self.output = Dense(self.mlp.num_features, num_classes, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, latents: Float[Array, "*batch latents"]) -> Float[Array, "*batch classes"]:
        return self.output(self.mlp(latents))
