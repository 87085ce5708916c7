"""Affine couplings: maps whose inverse and Jacobian are as cheap as themselves."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.networks.activations import Activation
from vae_jax.networks.initializers import LECUN, Initializer
from vae_jax.networks.mlp import MLP

# Bound of a coupling's log-scale: a few couplings reach any useful scale, and none overflows.
_BOUND = 3.0


class AffineCoupling(nnx.Module):
    """The shift and log-scale of one part of a vector, computed from the other, `condition`.

    Dinh et al. 2016 (arXiv 1605.08803, equations 4 and 5). The last layer starts at 0, so that the
    coupling starts as the identity.
    """

    def __init__(
        self,
        condition_size: int,
        size: int,
        widths: Sequence[int],
        *,
        activation: Activation,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.mlp = MLP(
            condition_size,
            widths,
            activation=activation,
            gated=False,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        self.output = nnx.Linear(
            self.mlp.num_features, 2 * size, kernel_init=nnx.initializers.zeros, rngs=rngs
        )

    def __call__(
        self, condition: Float[Array, "*batch rest"]
    ) -> tuple[Float[Array, "*batch size"], Float[Array, "*batch size"]]:
        shift, raw = jnp.split(self.output(self.mlp(condition)), 2, axis=-1)
        return shift, _BOUND * jnp.tanh(raw / _BOUND)
