"""Models: encode to a posterior, decode to a likelihood, sample, reconstruct."""

from vae_jax.models.autoencoder import Autoencoder
from vae_jax.models.likelihoods import BernoulliLikelihood, NormalLikelihood
from vae_jax.models.vae import VAE

__all__ = ["VAE", "Autoencoder", "BernoulliLikelihood", "NormalLikelihood"]
