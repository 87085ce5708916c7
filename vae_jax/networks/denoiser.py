"""A residual network of vectors that sees the level of the noise in them."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

# Waves of the level's embedding, and the highest angular frequency.
_NUM_WAVES = 16
_HIGHEST = 30.0


class Denoiser(nnx.Module):
    """Residual blocks of two dense layers, to whose hidden units the noise level is added.

    The last layer starts at 0, and so do the outputs; each block starts as the identity.
    """

    def __init__(self, size: int, *, num_blocks: int, width: int, rngs: nnx.Rngs) -> None:
        zeros = nnx.initializers.zeros
        self.first = nnx.Linear(size, width, rngs=rngs)
        self.level = nnx.Linear(2 * _NUM_WAVES, width, rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(num_blocks + 1)])
        self.hidden = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(num_blocks)])
        self.back = nnx.List(
            [nnx.Linear(width, width, kernel_init=zeros, rngs=rngs) for _ in range(num_blocks)]
        )
        self.output = nnx.Linear(width, size, kernel_init=zeros, rngs=rngs)

    def __call__(
        self, x: Float[Array, "*batch size"], level: Float[Array, "*batch"]
    ) -> Float[Array, "*batch size"]:
        """Return outputs; the level of the noise is of the order of 1."""
        angles = level[..., None] * jnp.exp(jnp.linspace(0.0, math.log(_HIGHEST), _NUM_WAVES))
        embedded = self.level(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1))
        x = self.first(x)
        *norms, last = self.norms
        for norm, hidden, back in zip(norms, self.hidden, self.back, strict=True):
            x += back(jax.nn.silu(hidden(norm(x)) + embedded))
        return self.output(last(x))
