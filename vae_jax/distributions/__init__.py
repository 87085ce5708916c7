"""Probability distributions over events of any shape, in nats.

A distribution's parameters carry leading batch axes and `event_ndim` trailing event axes. Log
densities and divergences sum over the event and keep the batch: a `Normal` with `mean` of shape
`[num_samples, batch, latents]` and `event_ndim=1` has `log_prob` of shape `[num_samples, batch]`.
"""

from vae_jax.distributions.base import (
    Distribution,
    bounded_log_scale,
    softplus,
    unbounded_log_scale,
)
from vae_jax.distributions.bernoulli import Bernoulli
from vae_jax.distributions.normal import Normal, kl_by_dimension, kl_divergence

__all__ = [
    "Bernoulli",
    "Distribution",
    "Normal",
    "bounded_log_scale",
    "kl_by_dimension",
    "kl_divergence",
    "softplus",
    "unbounded_log_scale",
]
