"""Models: encode to a posterior, decode to a likelihood, sample, reconstruct."""

from vae_jax.models.autoencoder import Autoencoder
from vae_jax.models.autoregressive_prior import AutoregressivePrior
from vae_jax.models.categorical import CategoricalVAE
from vae_jax.models.column_conditions import ColumnsCondition
from vae_jax.models.hierarchies import ConditionalNormal, LadderVAE, MarkovVAE
from vae_jax.models.interfaces import DensityModel, Model
from vae_jax.models.likelihoods import BernoulliLikelihood, NormalLikelihood
from vae_jax.models.multimodal import MultimodalVAE
from vae_jax.models.posteriors import (
    AutoregressiveFlow,
    DiagonalNormal,
    VonMisesFisherPosterior,
)
from vae_jax.models.priors import (
    FlowPrior,
    MixturePrior,
    StandardNormalPrior,
    UniformSpherePrior,
    VampPrior,
)
from vae_jax.models.semi_supervised import SemiSupervisedVAE
from vae_jax.models.top_down import TopDownVAE
from vae_jax.models.vae import VAE, ConditionalVAE

__all__ = [
    "VAE",
    "Autoencoder",
    "AutoregressiveFlow",
    "AutoregressivePrior",
    "BernoulliLikelihood",
    "CategoricalVAE",
    "ColumnsCondition",
    "ConditionalNormal",
    "ConditionalVAE",
    "DensityModel",
    "DiagonalNormal",
    "FlowPrior",
    "LadderVAE",
    "MarkovVAE",
    "MixturePrior",
    "Model",
    "MultimodalVAE",
    "NormalLikelihood",
    "SemiSupervisedVAE",
    "StandardNormalPrior",
    "TopDownVAE",
    "UniformSpherePrior",
    "VampPrior",
    "VonMisesFisherPosterior",
]
