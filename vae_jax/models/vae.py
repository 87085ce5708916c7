"""The variational autoencoder of Kingma & Welling 2013 (arXiv 1312.6114)."""

from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions import Distribution
from vae_jax.models.interfaces import (
    Decoder,
    Encoder,
    Likelihood,
    Posterior,
    PosteriorNetwork,
    Prior,
    PriorNetwork,
)


class VAE(nnx.Module):
    """q(z|x) of the encoder's features, p(z) by its network, p(x|z) the decoder's likelihood.

    Attributes:
      latent_size: number of latent dimensions, of all stochastic layers together.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        likelihood: Likelihood,
        posterior: PosteriorNetwork,
        prior_network: PriorNetwork,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.posterior = posterior
        self.prior_network = prior_network
        self.latent_size = posterior.latent_size

    @property
    def prior(self) -> Prior:
        """p(z) over `[latents]`."""
        return self.prior_network(self.encode)

    def encode(self, images: Float[Array, "*batch height width channels"]) -> Posterior:
        """q(z|x) over `[*batch, latents]`."""
        return self.posterior(self.encoder(images))

    def latents(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch latents"]:
        """The one latent vector that stands for an image: the posterior mean."""
        return self.encode(images).mean

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """p(x|z) over `[*batch, height, width, channels]`."""
        return self.likelihood(self.decoder(latents))
