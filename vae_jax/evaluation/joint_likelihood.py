"""Log probabilities of modalities, by importance sampling from the posterior given modalities.

log p(x_A) = log E_{q(z|x_B)}[p(z) prod_{i in A} p(x_i|z) / q(z|x_B)] for any sets A and B, and
log p(x|y) = log p(x, y) - log p(y). With finitely many samples the first is a lower bound.

Samples are streamed in chunks through running means, so that memory does not grow with their
number. Every example has a key of its own.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.evaluation.full_batches import full_batches
from vae_jax.evaluation.likelihood import image_keys
from vae_jax.evaluation.streamed_means import LogMeanExp, Moments
from vae_jax.models.modalities import TextModality, Values
from vae_jax.models.multimodal import MultimodalVAE
from vae_jax.networks.precision import full_precision
from vae_jax.objectives.multimodal import kl_bound

# Decoded values that are alive at once: more fall out of the cache.
_VALUES_PER_CHUNK = 2**22


class JointEstimates(NamedTuple):
    """Estimates for each example, in nats.

    Attributes:
      log_probability: the importance-sampled log p(x_A).
      distortions: -log p(x_i|z) of each modality of A, averaged over the samples,
        `[modalities of A, examples]`.
      kl: KL(q(z|x_B) || p(z)); of a mixture the bound `multimodal_objectives.kl_bound`.
    """

    log_probability: Float[np.ndarray | Array, " examples"]
    distortions: Float[np.ndarray | Array, "asked examples"]
    kl: Float[np.ndarray | Array, " examples"]

    @property
    def elbo(self) -> Float[np.ndarray | Array, " examples"]:
        """-(distortions + KL), the evidence lower bound where A is B."""
        return -(self.distortions.sum(axis=0) + self.kl)


def _size(asked: Sequence[str], model: MultimodalVAE, batch: int) -> int:
    """Return the number of values that the decoders give for one sample of a batch."""
    latents = jax.ShapeDtypeStruct((batch, model.latent_size), jnp.float32)
    total = 0
    for name in asked:
        modality = model.modalities[name]
        if isinstance(modality, TextModality):
            total += batch * modality.decoder.length * modality.decoder.num_words
        else:
            total += math.prod(jax.eval_shape(modality.decoder, latents).shape)
    return total


@full_precision
def estimate_batch(
    model: MultimodalVAE,
    values: Mapping[str, Values],
    keys: Key[Array, " batch"],
    *,
    asked: tuple[str, ...],
    given: tuple[str, ...],
    num_samples: int,
) -> JointEstimates:
    """Return the estimates for one batch, in full precision.

    Args:
      model: the model.
      values: of all its modalities.
      keys: one per example.
      asked: the modalities A whose probability is estimated.
      given: the modalities B, whose posterior is sampled; none for the prior.
      num_samples: importance samples per example.
    """
    batch = len(keys)
    chunk = min(max(1, _VALUES_PER_CHUNK // _size(asked, model, batch)), num_samples)
    posterior = model.encode(values, jnp.asarray([name in given for name in model.names]))
    prior = model.prior

    def draw(key: Key[Array, ""], first: Array) -> tuple[Array, Array]:
        sample_keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(chunk))
        pairs = jax.vmap(jax.random.split)(sample_keys)
        noise = jax.vmap(lambda key: jax.random.normal(key, (model.latent_size,)))(pairs[:, 0])
        return noise, jax.vmap(jax.random.uniform)(pairs[:, 1])

    def add_chunk(
        sums: tuple[LogMeanExp, Moments], first: Array
    ) -> tuple[tuple[LogMeanExp, Moments], None]:
        noise, uniform = jax.vmap(draw, in_axes=(0, None), out_axes=1)(keys, first)
        latents = posterior.of(posterior.at(uniform)).draw(noise).latents
        wanted = first + jnp.arange(chunk) < num_samples
        log_likelihoods = jnp.stack(
            [model.decode(name, latents).log_prob(values[name]) for name in asked]
        )
        log_weights = (
            log_likelihoods.sum(axis=0) + prior.log_prob(latents) - posterior.log_prob(latents)
        )
        by_sample = jnp.moveaxis(log_likelihoods, 1, 0)
        return (sums[0].add(log_weights, wanted), sums[1].add(by_sample, wanted)), None

    start = LogMeanExp.empty((batch,)), Moments.empty((len(asked), batch))
    sums, _ = jax.lax.scan(add_chunk, start, jnp.arange(0, num_samples, chunk))
    return JointEstimates(
        sums[0].result(num_samples), -sums[1].mean(num_samples), kl_bound(posterior, prior)
    )


@functools.partial(jax.jit, static_argnames=("graphdef", "asked", "given", "num_samples"))
def _compiled_estimate(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    values: dict[str, Array],
    keys: Array,
    *,
    asked: tuple[str, ...],
    given: tuple[str, ...],
    num_samples: int,
) -> JointEstimates:
    model = nnx.merge(graphdef, params)
    return estimate_batch(model, values, keys, asked=asked, given=given, num_samples=num_samples)


def estimate(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    values: Mapping[str, np.ndarray],
    key: Key[Array, ""],
    *,
    asked: tuple[str, ...],
    given: tuple[str, ...] | None = None,
    num_samples: int,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda num_examples: None,
) -> JointEstimates:
    """Return the estimates for every example, the last partial batch included.

    Args:
      graphdef: the model without its parameters.
      params: its parameters.
      values: all modalities as the model sees them.
      key: of the samples.
      asked: the modalities whose probability is estimated.
      given: the modalities whose posterior is sampled; by default those asked.
      num_samples: importance samples per example.
      batch_size: examples per compiled call.
      on_batch: called with the number of examples done in each call.

    Returns:
      NumPy arrays over all examples.
    """
    num = len(next(iter(values.values())))
    parts = []
    for rows, num_done in full_batches(num, batch_size):
        num_rows = rows.stop - rows.start
        result = _compiled_estimate(
            graphdef,
            params,
            {name: jnp.asarray(array[rows]) for name, array in values.items()},
            image_keys(key, rows.start, num_rows),
            asked=asked,
            given=asked if given is None else given,
            num_samples=num_samples,
        )
        parts.append(JointEstimates(*(np.asarray(leaf)[..., num_done:] for leaf in result)))
        on_batch(num_rows - num_done)
    return JointEstimates(*(np.concatenate(x, axis=-1) for x in zip(*parts, strict=True)))
