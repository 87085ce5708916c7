"""Probability distributions over events of any shape, in nats.

A distribution's parameters carry leading batch axes and `event_ndim` trailing event axes. Log
densities and divergences sum over the event and keep the batch: a `Normal` with `mean` of shape
`[num_samples, batch, latents]` and `event_ndim=1` has `log_prob` of shape `[num_samples, batch]`.
"""

from vae_jax.distributions.base import (
    Distribution,
    Draw,
    bounded_log_scale,
    softplus,
    unbounded_log_scale,
)
from vae_jax.distributions.bernoulli import Bernoulli, ContinuousBernoulli
from vae_jax.distributions.categorical import Categorical
from vae_jax.distributions.classes import Classes
from vae_jax.distributions.columns import Binary, Columns, Constant, Group
from vae_jax.distributions.counts import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from vae_jax.distributions.divergence import closed_kl
from vae_jax.distributions.laplace import Laplace
from vae_jax.distributions.levels import NUM_LEVELS, level_values
from vae_jax.distributions.log_normal import LogNormal
from vae_jax.distributions.logistic import DiscretizedLogistic, MixtureOfDiscretizedLogistics
from vae_jax.distributions.mixture import NormalMixture
from vae_jax.distributions.normal import Normal, kl_by_dimension, kl_divergence
from vae_jax.distributions.one_hot import OneHot, kl_by_group
from vae_jax.distributions.optimal_normal import OptimalScaleNormal
from vae_jax.distributions.point_mass import PointMass
from vae_jax.distributions.seen_pixels import SeenPixels
from vae_jax.distributions.student_t import StudentT
from vae_jax.distributions.subset_mixture import SubsetMixture
from vae_jax.distributions.von_mises_fisher import UniformSphere, VonMisesFisher, on_sphere

__all__ = [
    "NUM_LEVELS",
    "Bernoulli",
    "Binary",
    "Categorical",
    "Classes",
    "Columns",
    "Constant",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Distribution",
    "Draw",
    "Group",
    "Laplace",
    "LogNormal",
    "MixtureOfDiscretizedLogistics",
    "NegativeBinomial",
    "Normal",
    "NormalMixture",
    "OneHot",
    "OptimalScaleNormal",
    "PointMass",
    "Poisson",
    "SeenPixels",
    "StudentT",
    "SubsetMixture",
    "UniformSphere",
    "VonMisesFisher",
    "ZeroInflatedNegativeBinomial",
    "bounded_log_scale",
    "closed_kl",
    "kl_by_dimension",
    "kl_by_group",
    "kl_divergence",
    "level_values",
    "on_sphere",
    "softplus",
    "unbounded_log_scale",
]
