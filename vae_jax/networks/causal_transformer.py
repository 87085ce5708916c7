"""A causal transformer over codes: the outputs at a position depend only on the codes before it."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vae_jax.networks.initializers import LECUN
from vae_jax.networks.precision import Dense
from vae_jax.networks.text import Embedding
from vae_jax.settings import integer

# Width of a block's hidden layer over that of the block (Vaswani et al. 2017, table 3).
_EXPANSION = 4

Heads = Float[Array, "*batch positions heads size"]


class Past(NamedTuple):
    """The keys and values of a block at all positions; those not reached yet are 0."""

    keys: Heads
    values: Heads


def attend(
    queries: Float[Array, "*batch queries heads size"],
    past: Past,
    mask: Bool[Array, "queries positions"] | Bool[np.ndarray, "queries positions"],
) -> Float[Array, "*batch queries heads size"]:
    """Return scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762, equation 1).

    Args:
      queries: those of some positions.
      past: the keys and values of all positions.
      mask: True where a query sees a position; each sees at least one.
    """
    products = jnp.einsum("...qhs,...khs->...hqk", queries, past.keys)
    scores = jnp.where(mask, products / math.sqrt(queries.shape[-1]), -jnp.inf)
    return jnp.einsum("...hqk,...khs->...qhs", jax.nn.softmax(scores), past.values)


class Block(nnx.Module):
    """Attention and a hidden layer, each normalised before and added to its input.

    Both start as the identity, for their last matrices start at 0.
    """

    def __init__(self, width: int, num_heads: int, *, rngs: nnx.Rngs) -> None:
        hidden, zeros = _EXPANSION * width, nnx.initializers.zeros
        self.before_attention = nnx.LayerNorm(width, rngs=rngs)
        self.projections = Dense(width, 3 * width, kernel_init=LECUN, rngs=rngs)
        self.attended = Dense(width, width, kernel_init=zeros, rngs=rngs)
        self.before_hidden = nnx.LayerNorm(width, rngs=rngs)
        self.hidden = Dense(width, hidden, kernel_init=LECUN, rngs=rngs)
        self.output = Dense(hidden, width, kernel_init=zeros, rngs=rngs)
        self.num_heads = num_heads

    def project(self, x: Float[Array, "*batch positions width"]) -> tuple[Heads, Past]:
        """Return the queries of each position, and its keys and values."""
        projected = self.projections(self.before_attention(x))
        heads = projected.reshape(*x.shape[:-1], 3, self.num_heads, -1)
        queries, keys, values = (heads[..., part, :, :] for part in range(3))
        return queries, Past(keys, values)

    def add(
        self, x: Float[Array, "*batch positions width"], attended: Heads
    ) -> Float[Array, "*batch positions width"]:
        """Return the block's output, given its input and its attention."""
        x = x + self.attended(attended.reshape(x.shape))
        return x + self.output(jax.nn.gelu(self.hidden(self.before_hidden(x))))


class CausalTransformer(nnx.Module):
    """Logits of each code of a sequence, given the codes before it.

    Learned positions and normalisation before each layer (Radford et al. 2019), without dropout.
    The output layer starts at 0, and so the codes start as uniform.
    """

    def __init__(
        self,
        num_codes: int,
        length: int,
        *,
        width: int,
        num_layers: int,
        num_heads: int,
        rngs: nnx.Rngs,
    ) -> None:
        self.embedding = Embedding(num_codes, width, rngs=rngs)
        self.start = nnx.Param(jax.random.normal(rngs.params(), (width,)))
        self.positions = nnx.Param(jax.random.normal(rngs.params(), (length, width)))
        self.blocks = nnx.List([Block(width, num_heads, rngs=rngs) for _ in range(num_layers)])
        self.before_output = nnx.LayerNorm(width, rngs=rngs)
        self.output = Dense(width, num_codes, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.num_codes = num_codes
        self.length = length
        self.head_shape = (num_heads, width // num_heads)

    def __call__(
        self, codes: Int[Array, "*batch length"]
    ) -> Float[Array, "*batch length num_codes"]:
        embedded = self.embedding(codes[..., :-1])
        start = jnp.broadcast_to(self.start[...], (*codes.shape[:-1], 1, embedded.shape[-1]))
        x = jnp.concatenate([start, embedded], axis=-2) + self.positions[...]
        mask = np.tri(self.length, dtype=bool)
        for block in self.blocks:
            queries, past = block.project(x)
            x = block.add(x, attend(queries, past, mask))
        return self.output(self.before_output(x))

    def begin(self, batch: tuple[int, ...]) -> tuple[Past, ...]:
        """Return the keys and values of the blocks before the first position, all 0."""
        zeros = jnp.zeros((*batch, self.length, *self.head_shape))
        return tuple(Past(zeros, zeros) for _ in self.blocks)

    def next_logits(
        self,
        pasts: tuple[Past, ...],
        before: Int[Array, "*batch"],
        position: Int[Array, ""],
    ) -> tuple[tuple[Past, ...], Float[Array, "*batch num_codes"]]:
        """Return the keys and values with those of one position added, and its logits.

        The logits are those of a call on the whole sequence, up to rounding.

        Args:
          pasts: keys and values of all positions before.
          before: the code at the position before; of no effect at the first.
          position: the position.
        """
        embedded = jnp.where(position == 0, self.start[...], self.embedding(before))
        x = (embedded + self.positions[...][position])[..., None, :]
        mask = (jnp.arange(self.length) <= position)[None]
        extended = []
        for block, past in zip(self.blocks, pasts, strict=True):
            queries, here = block.project(x)
            past = Past(*(_put(old, new, position) for old, new in zip(past, here, strict=True)))
            x = block.add(x, attend(queries, past, mask))
            extended.append(past)
        return tuple(extended), self.output(self.before_output(x))[..., 0, :]


def _put(past: Heads, here: Float[Array, "*batch 1 heads size"], position: Array) -> Heads:
    return jax.lax.dynamic_update_slice_in_dim(past, here, position, axis=past.ndim - 3)


@dataclasses.dataclass(frozen=True)
class TransformerSettings:
    """A causal transformer with learned positions."""

    width: int = integer(64, "Width of the blocks, a multiple of heads.", at_least=1)
    layers: int = integer(3, "Blocks of attention and a hidden layer.", at_least=1, at_most=1000)
    heads: int = integer(4, "Heads of the attention.", at_least=1)

    def problem(self) -> str | None:
        """Return why these settings cannot work; None if they can."""
        if self.width % self.heads:
            return f"width={self.width} must be a multiple of heads={self.heads}"
        return None

    def build(self, num_codes: int, length: int, *, rngs: nnx.Rngs) -> CausalTransformer:
        """Return the network with fresh parameters."""
        return CausalTransformer(
            num_codes,
            length,
            width=self.width,
            num_layers=self.layers,
            num_heads=self.heads,
            rngs=rngs,
        )
