"""Networks of class labels: labels to features, latents to logits."""

import dataclasses
from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float, Int

from vae_jax.networks.activations import ACTIVATIONS, Activation
from vae_jax.networks.initializers import INITIALIZERS, LECUN, Initializer
from vae_jax.networks.mlp import MLP
from vae_jax.networks.precision import Dense
from vae_jax.settings import one_of, sizes


class ClassEncoder(nnx.Module):
    """One-hot classes to features through hidden layers of the given widths."""

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
    """Latents to logits through hidden layers; `widths` runs from the latents on."""

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


@dataclasses.dataclass(frozen=True)
class ClassSettings:
    """Dense layers of a modality whose values are classes; the decoder mirrors the encoder."""

    widths: tuple[int, ...] = sizes((400,), "Hidden layers.", may_be_empty=True)
    activation: str = one_of("silu", list(ACTIVATIONS), "Activation of the hidden layers.")
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the matrices.")

    def build_encoder(self, num_classes: int, *, rngs: nnx.Rngs) -> ClassEncoder:
        """Return the encoder with fresh parameters."""
        return ClassEncoder(
            num_classes,
            list(self.widths),
            activation=ACTIVATIONS[self.activation],
            kernel_init=INITIALIZERS[self.initializer],
            rngs=rngs,
        )

    def build_decoder(self, latent_size: int, num_classes: int, *, rngs: nnx.Rngs) -> ClassDecoder:
        """Return the decoder with fresh parameters."""
        return ClassDecoder(
            latent_size,
            num_classes,
            list(self.widths)[::-1],
            activation=ACTIVATIONS[self.activation],
            kernel_init=INITIALIZERS[self.initializer],
            rngs=rngs,
        )
