"""Likelihoods p(x|z): what the decoder's output means."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions import Bernoulli, Normal, bounded_log_scale, unbounded_log_scale

_IMAGE_NDIM = 3

# Keeps the initial logits finite where a pixel is black, or white, in every training image; the
# bounds are those of the IWAE authors' code (Burda et al. 2015).
_MEAN_RANGE = (0.001, 0.999)


class BernoulliLikelihood(nnx.Module):
    """The decoder's output as logits; data in [0, 1]."""

    accepts = (0.0, 1.0)

    def __call__(self, outputs: Float[Array, "*batch height width channels"]) -> Bernoulli:
        return Bernoulli(outputs, event_ndim=_IMAGE_NDIM)

    def output_for_mean(self, mean: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Logits of `mean`, clipped away from 0 and 1."""
        clipped = jnp.clip(mean, *_MEAN_RANGE)
        return jnp.log(clipped) - jnp.log1p(-clipped)


class NormalLikelihood(nnx.Module):
    """The decoder's output as the mean of a normal with one scale for all pixels; any finite data.

    The scale is fixed at `scale`, or starts there and is learned.
    """

    accepts = (-math.inf, math.inf)

    def __init__(self, scale: float, *, learn_scale: bool) -> None:
        # Strongly typed: a weak type would turn strong in the first step and compile it twice.
        unbounded = jnp.asarray(unbounded_log_scale(math.log(scale)), jnp.float32)
        self.learned_log_scale = nnx.Param(unbounded) if learn_scale else None
        self.fixed_log_scale = math.log(scale)

    def __call__(self, outputs: Float[Array, "*batch height width channels"]) -> Normal:
        learned = self.learned_log_scale
        log_scale = (
            jnp.asarray(self.fixed_log_scale, jnp.float32)
            if learned is None
            else bounded_log_scale(learned[...])
        )
        return Normal(outputs, log_scale, event_ndim=_IMAGE_NDIM)

    def output_for_mean(self, mean: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The mean itself."""
        return mean
