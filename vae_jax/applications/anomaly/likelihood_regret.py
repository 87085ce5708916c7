"""Likelihood regret: the gain in ELBO from a posterior fitted to one image alone."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.distributions import Normal
from vae_jax.evaluation.full_batches import full_batches
from vae_jax.models import DensityModel
from vae_jax.networks.precision import full_precision
from vae_jax.objectives.bounds import elbo
from vae_jax.trained import TrainedModel

_NUM_STEPS = 100
_LEARNING_RATE = 0.05
# Adam's epsilon: with less, gradients that are mere rounding give full steps.
_EPSILON = 1e-3
# Decoded values that are alive at once.
_VALUES_PER_BATCH = 2**23


class _PosteriorParameters(NamedTuple):
    mean: Float[Array, "images latents"]
    log_scale: Float[Array, "images latents"]


def _elbo(
    model: DensityModel,
    images: Float[Array, "images height width channels"],
    posterior: _PosteriorParameters,
    noise: Float[Array, "samples images latents"],
) -> Float[Array, " images"]:
    """Return the mean of log p(x, z) - log q(z) over the samples that the noise gives.

    No gradient flows through the density's own parameters, only through the samples (sticking the
    landing, Roeder et al. 2017, arXiv 1703.09194): where q is the exact posterior it is 0, whatever
    the noise.
    """
    latents, _ = Normal(*posterior).draw(noise)
    log_posterior = Normal(*jax.lax.stop_gradient(posterior)).log_prob(latents)
    log_joint = model.decode(latents).log_prob(images) + model.prior.log_prob(latents)
    return elbo(log_joint - log_posterior)


@functools.partial(jax.jit, static_argnames=("graphdef", "num_samples"))
@full_precision
def _regret(
    graphdef: nnx.GraphDef, params: nnx.State, images: Array, key: Array, *, num_samples: int
) -> Float[Array, " images"]:
    model = nnx.merge(graphdef, params)
    encoded = model.encode(images)
    start = _PosteriorParameters(encoded.mean, encoded.log_scale)
    optimizer = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, _NUM_STEPS), eps=_EPSILON)
    steps_key, final_key = jax.random.split(key)

    def cost(posterior: _PosteriorParameters, noise: Array) -> Array:
        # In a sum each image has its own gradient, and Adam works element by element.
        return -_elbo(model, images, posterior, noise).sum()

    def step(
        state: tuple[_PosteriorParameters, Any], step_key: Array
    ) -> tuple[tuple[_PosteriorParameters, Any], None]:
        posterior, memory = state
        noise = jax.random.normal(step_key, (1, *posterior.mean.shape))
        updates, memory = optimizer.update(jax.grad(cost)(posterior, noise), memory)
        return (optax.apply_updates(posterior, updates), memory), None

    state = (start, optimizer.init(start))
    (end, _), _ = jax.lax.scan(step, state, jax.random.split(steps_key, _NUM_STEPS))

    def gain(sample_key: Array) -> Array:
        # The same noise for both, so that the difference has less variance.
        noise = jax.random.normal(sample_key, (1, *start.mean.shape))
        return _elbo(model, images, end, noise) - _elbo(model, images, start, noise)

    gains = jax.lax.map(gain, jax.random.split(final_key, num_samples))
    return jnp.maximum(gains.mean(axis=0), 0)


def likelihood_regret(
    model: TrainedModel,
    images: Float[np.ndarray, "images height width channels"],
    key: Key[Array, ""],
    *,
    num_samples: int,
) -> Float[np.ndarray, " images"]:
    """Return max_q ELBO(x; q) - ELBO(x; q(z|x)) in nats, at least 0 (Xiao et al. 2020).

    arXiv 2003.02977. The maximum is over the mean and scale of a normal per image. The search
    starts at the encoder's and takes 100 steps of Adam with one fresh sample each. The paper's
    alternative, a copy of the encoder trained on each image, searches fewer posteriors at far
    greater cost. Both ELBOs are then estimated from the same new samples. Where the search finds
    no better posterior, the encoder's is kept.

    Args:
      model: a VAE with `has_normal_posterior`.
      images: as the model sees them.
      key: of the samples.
      num_samples: samples per image of the final estimate.

    Raises:
      ValueError: the posterior is not a diagonal normal.
    """
    if not model.has_normal_posterior:
        raise ValueError("the likelihood regret needs a diagonal normal posterior")
    outputs = images[0].size * model.likelihood.outputs_per_channel
    parts = []
    for rows, num_done in full_batches(len(images), max(1, _VALUES_PER_BATCH // outputs)):
        batch_key = jax.random.fold_in(key, rows.start)
        batch = jnp.asarray(images[rows])
        regret = _regret(model.graphdef, model.state, batch, batch_key, num_samples=num_samples)
        parts.append(np.asarray(regret)[num_done:])
    return np.concatenate(parts)
