"""Values that were not seen, given those that were, by self-normalised importance sampling.

With latents z_k drawn from q(z|x_seen) and weights w_k = p(x_seen|z_k) p(z_k) / q(z_k|x_seen), the
mean of p(x_missing|z_k) with weights w_k / sum w approaches p(x_missing|x_seen), and so do draws at
latents that are drawn again by these weights (Mattei & Frellsen 2019, arXiv 1812.02633, section
3.3).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.data import random_bits
from vae_jax.models.interfaces import DensityModel
from vae_jax.models.vae import ConditionalVAE
from vae_jax.networks.precision import full_precision

# Decoded values that are alive at once.
_VALUES_PER_CHUNK = 2**21
# Latents, and weights, that are kept for a second draw.
_VALUES_KEPT = 2**22


Rows = Float[np.ndarray, "batch height width channels"]


@runtime_checkable
class Imputable(Protocol):
    """p(x|z) over the values that were seen, whose other values can be imputed."""

    @property
    def expectations(self) -> tuple[Float[Array, "..."], ...]:
        """Expected values or probabilities, whose averages over latents are the mixture's."""

    def point(self, expectations: tuple[Float[Array, "..."], ...]) -> Float[Array, "..."]:
        """Return the one row or image that stands for expectations."""

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability, or density, of what was seen in nats."""

    def given(self, value: Float[Array, "..."]) -> "Imputable":
        """Return the distribution with what given rows say of it beside the latents."""

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Return one draw of all values."""


class Imputed(NamedTuple):
    """Rows whose cells that were not seen have values; those that were seen are as given.

    A row is `[1, columns, 1]`. Images are imputed as rows are, and pixels as numbers.

    Attributes:
      point: expected numbers, and the likeliest category or binary value.
      draws: of p(x_missing|x_seen).
      effective_samples: (sum w)^2 / sum w^2, how many of the samples count.
    """

    point: Float[np.ndarray | Array, "batch height width channels"]
    draws: Float[np.ndarray | Array, "draws batch height width channels"]
    effective_samples: Float[np.ndarray | Array, " batch"]


def rows_at_once(num_samples: int, latent_size: int) -> int:
    """Return how many rows are imputed together, so that memory does not grow with the table."""
    return max(1, min(64, _VALUES_KEPT // (num_samples * (latent_size + 1))))


def in_blocks(
    impute_block: Callable[[Rows, Key[Array, " block"]], Imputed],
    rows: Rows,
    keys: Key[Array, " batch"],
    at_once: int,
) -> Iterator[Imputed]:
    """Impute rows some at a time; yield each block.

    Args:
      impute_block: imputes as many rows as `at_once` says, by as many keys, so that one program
        serves all calls.
      rows: to impute.
      keys: one per row.
      at_once: rows of a block.
    """
    for first in range(0, len(rows), at_once):
        # The last block repeats its last row.
        indices = np.minimum(np.arange(first, first + at_once), len(rows) - 1)
        found = impute_block(rows[indices], keys[indices])
        num = min(at_once, len(rows) - first)
        yield Imputed(found.point[:num], found.draws[:, :num], found.effective_samples[:num])


def joined(blocks: Iterable[Imputed]) -> Imputed:
    """Return the rows of all blocks; their draws are all in memory."""
    parts = list(blocks)
    return Imputed(
        np.concatenate([part.point for part in parts]),
        np.concatenate([part.draws for part in parts], axis=1),
        np.concatenate([part.effective_samples for part in parts]),
    )


def _given(model: Any, rows: Float[Array, "*batch height width channels"]) -> Any:
    """Return the model given rows, if it is one of some of their columns given others."""
    return model.given(rows) if isinstance(model, ConditionalVAE) else model


@full_precision
def impute(
    model: DensityModel,
    rows: Float[Array, "batch height width channels"],
    keys: Key[Array, " batch"],
    *,
    num_samples: int,
    num_draws: int,
) -> Imputed:
    """Return rows with their missing cells imputed.

    Args:
      model: of the rows of a table, or of images; or of some columns of rows given others, which
        stay as they are, empty or not.
      rows: with NaN where a cell, or a pixel, was not seen.
      keys: one per row, so that the result does not depend on the batch.
      num_samples: importance samples per row.
      num_draws: draws per row.
    """
    batch, of_all = rows.shape[0], model
    model = _given(of_all, rows)
    posterior, prior = model.encode(rows), model.prior
    outputs = rows.size * model.likelihood.outputs_per_channel
    chunk = min(max(1, _VALUES_PER_CHUNK // outputs), num_samples)
    noise_keys, chosen_keys, draw_keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys).T

    def decode(latents: Float[Array, "*shape latents"]) -> Imputable:
        decoded: Any = model.decode(latents)
        return decoded

    def noise(first: Array) -> Float[Array, "chunk batch noise"]:
        def of_row(key: Key[Array, ""]) -> Float[Array, "chunk noise"]:
            return random_bits.normal(key, first, chunk, model.noise_size)

        return jax.vmap(of_row, out_axes=1)(noise_keys)

    def add_chunk(sums: tuple[Array, tuple[Any, ...]], first: Array) -> tuple[Any, Any]:
        largest, weighted = sums
        latents, log_posterior = posterior.draw(noise(first))
        decoded = decode(latents)
        log_weights = decoded.log_prob(rows) + prior.log_prob(latents) - log_posterior
        wanted = first + jnp.arange(chunk) < num_samples
        log_weights = jnp.where(wanted[:, None], log_weights, -jnp.inf)
        new = jnp.maximum(largest, log_weights.max(axis=0))
        weights = jnp.exp(log_weights - new)
        scale = jnp.exp(largest - new)

        def add(total: Array, expected: Array) -> Array:
            more = (1,) * (expected.ndim - 2)
            old = total * scale.reshape(batch, *more)
            return old + (weights.reshape(chunk, batch, *more) * expected).sum(axis=0)

        expectations = (jnp.ones((chunk, batch)), *decoded.given(rows).expectations)
        return (new, jax.tree.map(add, weighted, expectations)), (latents, log_weights)

    single = decode(posterior.mean[None]).given(rows)
    shapes = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:]), single.expectations)
    start = (jnp.full(batch, -jnp.inf), (jnp.zeros(batch), *shapes))
    firsts = jnp.arange(0, num_samples, chunk)
    (_, (total, *weighted)), kept = jax.lax.scan(add_chunk, start, firsts)
    latents, log_weights = (leaf.reshape(-1, *leaf.shape[2:]) for leaf in kept)
    expectations = tuple(w / total.reshape(batch, *(1,) * (w.ndim - 1)) for w in weighted)

    def choose(key: Key[Array, ""], log_weights: Array, latents: Array) -> Array:
        # By the inverse of their distribution function: a Gumbel for each sample and draw, as in
        # `jax.random.categorical`, took longer than all else.
        cumulated = jnp.cumsum(jax.nn.softmax(log_weights))
        uniform = cumulated[-1] * jax.random.uniform(key, (num_draws,))
        return latents[jnp.searchsorted(cumulated, uniform, side="right")]

    again = jax.vmap(choose, in_axes=(0, 1, 1), out_axes=1)(chosen_keys, log_weights, latents)

    def sample(key: Key[Array, ""], latents: Array, row: Array) -> Array:
        decoded: Any = _given(of_all, row).decode(latents)
        return decoded.given(row).sample(key)

    draws = jax.vmap(sample, in_axes=(0, 1, 0), out_axes=1)(draw_keys, again, rows)
    missing = jnp.isnan(rows)
    normalised = jax.nn.softmax(log_weights, axis=0)
    return Imputed(
        jnp.where(missing, single.point(expectations), rows),
        jnp.where(missing, draws, rows),
        1 / jnp.square(normalised).sum(axis=0),
    )
