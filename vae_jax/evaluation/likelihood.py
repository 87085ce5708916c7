"""ELBO and importance-weighted bound of each image of a data set.

Samples are streamed in chunks through running means, so that memory does not grow with their
number. Every image has a key of its own, and so has every sample of it: the estimates do not depend
on the batch size or on the chunks, beyond rounding.
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vae_jax.data import random_bits
from vae_jax.data.pixels import Prepare, StoredImages
from vae_jax.distributions import Normal, closed_kl
from vae_jax.evaluation.full_batches import full_batches
from vae_jax.evaluation.streamed_means import LogMeanExp, Moments
from vae_jax.models import DensityModel
from vae_jax.models.interfaces import Posterior, Prior, TopDown
from vae_jax.networks.precision import full_precision
from vae_jax.objectives.bounds import sampled_kl_parts

# Decoded values that are alive at once: more falls out of the cache, fewer starve the matrix unit.
_VALUES_PER_CHUNK = 2**21
# On a CPU one batch's elementwise work fills the cores that the other's products leave idle.
_BATCHES_AT_ONCE = 2


class LikelihoodEstimates(NamedTuple):
    """Bounds on log p(x) and their terms for each image, in nats.

    Attributes:
      iwae_bound: log mean_k p(x|z_k) p(z_k) / q(z_k|x) (Burda et al. 2015, equation 8).
      distortion: -log p(x|z), averaged over the same samples.
      kl: KL(q(z|x) || p(z)) of each latent dimension, or a single value where posterior and prior
        do not both factorise; averaged over the samples where it has no closed form, or one given
        the layers above alone.
      posterior_mean: E[z|x] of each latent dimension (no unit); the mean of the samples where the
        posterior is not a normal.
      posterior_mean_variance: variance of that mean, estimated from the samples; zero where the
        mean is exact, NaN with a single sample.
    """

    iwae_bound: Float[np.ndarray | Array, " examples"]
    distortion: Float[np.ndarray | Array, " examples"]
    kl: Float[np.ndarray | Array, "examples parts"]
    posterior_mean: Float[np.ndarray | Array, "examples latents"]
    posterior_mean_variance: Float[np.ndarray | Array, "examples latents"]

    @property
    def elbo(self) -> Float[np.ndarray | Array, " examples"]:
        """-(distortion + KL), in nats."""
        return -(self.distortion + self.kl.sum(axis=-1))


def image_keys(key: Key[Array, ""], first: int, num_images: int) -> Key[Array, " images"]:
    """Return one key per image, from its index in the data set."""
    return _keys_of(key, jax.device_put(np.arange(first, first + num_images, dtype=np.int32)))


@jax.jit
def _keys_of(key: Key[Array, ""], indices: Int[Array, " images"]) -> Key[Array, " images"]:
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(indices)


def prepare_each(
    prepare: Prepare, keys: Key[Array, " batch"], images: StoredImages
) -> Float[Array, "batch height width channels"]:
    """Return the images as `prepare` makes them, each with its own key."""
    return jax.vmap(lambda key, image: prepare(key, image[None])[0])(keys, images)


class _Sums(NamedTuple):
    """Sums over the samples; the last two only where there is no closed form."""

    log_weight: LogMeanExp
    log_likelihood: Moments
    kl: Moments
    latents: Moments


class _Draws(NamedTuple):
    """Draws of the posterior and the terms of their weights, `[chunk, batch, ...]`, in nats."""

    latents: Float[Array, "chunk batch latents"]
    log_likelihood: Float[Array, "chunk batch"]
    log_prior: Float[Array, "chunk batch"]
    log_posterior: Float[Array, "chunk batch"]
    kl: Float[Array, "chunk batch parts"]


def _draw_weighted(
    model: DensityModel,
    posterior: Posterior,
    prior: Prior,
    targets: Float[Array, "batch height width channels"],
    noise: Float[Array, "chunk batch noise"],
) -> _Draws:
    if isinstance(posterior, TopDown):
        passed = posterior.descend(noise)
        log_likelihood = passed.likelihood.log_prob(targets)
        return _Draws(
            passed.latents, log_likelihood, passed.log_prior, passed.log_posterior, passed.kl
        )
    latents, log_posterior = posterior.draw(noise)
    return _Draws(
        latents,
        model.decode(latents).log_prob(targets),
        prior.log_prob(latents),
        log_posterior,
        sampled_kl_parts(posterior, prior, latents, log_posterior),
    )


@full_precision
def estimate_batch(
    model: DensityModel,
    targets: Float[Array, "batch height width channels"],
    keys: Key[Array, " batch"],
    *,
    num_samples: int,
) -> LikelihoodEstimates:
    """Return the estimates for one batch, in full precision.

    Args:
      model: the model.
      targets: images as the model sees them.
      keys: one per image.
      num_samples: importance samples per image.
    """
    batch, outputs = targets.shape[0], targets.size * model.likelihood.outputs_per_channel
    chunk = min(max(1, _VALUES_PER_CHUNK // outputs), num_samples)
    posterior, prior = model.encode(targets), model.prior
    exact_kl = closed_kl(posterior, prior)
    exact_mean = posterior.mean if isinstance(posterior, Normal) else None

    def noise(first: Array) -> Float[Array, "chunk batch noise"]:
        def of_image(key: Key[Array, ""]) -> Float[Array, "chunk noise"]:
            return random_bits.normal(key, first, chunk, model.noise_size)

        return jax.vmap(of_image, out_axes=1)(keys)

    def add_chunk(sums: _Sums, first: Array) -> tuple[_Sums, None]:
        wanted = first + jnp.arange(chunk) < num_samples
        draws = _draw_weighted(model, posterior, prior, targets, noise(first))
        log_weights = draws.log_likelihood + draws.log_prior - draws.log_posterior
        return _Sums(
            sums.log_weight.add(log_weights, wanted),
            sums.log_likelihood.add(draws.log_likelihood, wanted),
            sums.kl if exact_kl is not None else sums.kl.add(draws.kl, wanted),
            sums.latents if exact_mean is not None else sums.latents.add(draws.latents, wanted),
        ), None

    shapes = jax.eval_shape(
        lambda first: _draw_weighted(model, posterior, prior, targets, noise(first)), jnp.int32(0)
    )
    kl_shape = shapes.kl.shape[1:]
    start = _Sums(
        LogMeanExp.empty((batch,)),
        Moments.empty((batch,)),
        Moments.empty(kl_shape),
        Moments.empty((batch, model.latent_size)),
    )
    sums, _ = jax.lax.scan(add_chunk, start, jnp.arange(0, num_samples, chunk))
    return LikelihoodEstimates(
        iwae_bound=sums.log_weight.result(num_samples),
        distortion=-sums.log_likelihood.mean(num_samples),
        kl=sums.kl.mean(num_samples) if exact_kl is None else exact_kl,
        posterior_mean=sums.latents.mean(num_samples) if exact_mean is None else exact_mean,
        posterior_mean_variance=sums.latents.variance_of_mean(num_samples)
        if exact_mean is None
        else jnp.zeros_like(exact_mean),
    )


@functools.partial(jax.jit, static_argnames=("graphdef", "num_samples"))
def _compiled_estimate(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    batch: Array,
    keys: Array,
    condition: Array | None = None,
    *,
    num_samples: int,
) -> LikelihoodEstimates:
    """Return the estimates; compiled once per network, whatever its parameters."""
    model = nnx.merge(graphdef, params)
    if condition is not None:
        model = model.given(condition)
    return estimate_batch(model, batch, keys, num_samples=num_samples)


def estimate(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    targets: Float[np.ndarray, "examples height width channels"],
    key: Key[Array, ""],
    *,
    num_samples: int,
    batch_size: int,
    condition: np.ndarray | None = None,
    on_batch: Callable[[int], None] = lambda num_images: None,
) -> LikelihoodEstimates:
    """Return the estimates for every image, the last partial batch included.

    Args:
      graphdef: the model without its parameters.
      params: its parameters.
      targets: images as the model sees them.
      key: of the samples.
      num_samples: importance samples per image.
      batch_size: images per compiled call.
      condition: of each image, for a model of p(x|c), whose bounds are then of log p(x|c).
      on_batch: called with the number of images done in each call.

    Returns:
      NumPy arrays over all images.
    """

    def of_batch(batch: tuple[slice, int]) -> LikelihoodEstimates:
        rows, num_done = batch
        images = jnp.asarray(targets[rows])
        keys = image_keys(key, rows.start, len(images))
        given = None if condition is None else jnp.asarray(condition[rows])
        result = _compiled_estimate(graphdef, params, images, keys, given, num_samples=num_samples)
        return LikelihoodEstimates(*(np.asarray(leaf)[num_done:] for leaf in result))

    first, *others = full_batches(len(targets), batch_size)
    # Alone, since it compiles.
    parts = [of_batch(first)]
    on_batch(len(parts[0].elbo))
    with ThreadPoolExecutor(_BATCHES_AT_ONCE) as pool:
        for part in pool.map(of_batch, others):
            parts.append(part)
            on_batch(len(part.elbo))
    return LikelihoodEstimates(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))
