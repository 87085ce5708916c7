"""The variational autoencoder of Kingma & Welling 2013 (arXiv 1312.6114)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions import Distribution, Normal, bounded_log_scale
from vae_jax.models.interfaces import Decoder, Encoder, Likelihood


class VAE(nnx.Module):
    """q(z|x) a diagonal normal, p(z) the standard normal, p(x|z) the decoder's likelihood."""

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        likelihood: Likelihood,
        latent_size: int,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.posterior = nnx.Linear(encoder.num_features, 2 * latent_size, rngs=rngs)
        self.latent_size = latent_size

    @property
    def prior(self) -> Normal:
        """p(z) over `[latents]`."""
        return Normal(jnp.zeros(self.latent_size), jnp.zeros(self.latent_size))

    def encode(self, images: Float[Array, "*batch height width channels"]) -> Normal:
        """q(z|x) over `[*batch, latents]`; its log-scale is bounded to +-8."""
        mean, raw = jnp.split(self.posterior(self.encoder(images)), 2, axis=-1)
        return Normal(mean, bounded_log_scale(raw))

    def latents(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch latents"]:
        """The one latent vector that stands for an image: the posterior mean."""
        return self.encode(images).mean

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """p(x|z) over `[*batch, height, width, channels]`."""
        return self.likelihood(self.decoder(latents))
