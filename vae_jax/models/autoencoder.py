"""The deterministic autoencoder, with the same bodies and likelihoods as the VAE."""

from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions import Distribution
from vae_jax.models.interfaces import Decoder, Encoder, Likelihood
from vae_jax.networks.initializers import LECUN, Initializer


class Autoencoder(nnx.Module):
    """An image to one latent vector and back."""

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        likelihood: Likelihood,
        latent_size: int,
        *,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.bottleneck = nnx.Linear(
            encoder.num_features, latent_size, kernel_init=kernel_init, rngs=rngs
        )
        self.latent_size = latent_size

    def latents(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch latents"]:
        """The code of each image."""
        return self.bottleneck(self.encoder(images))

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """p(x|z) over `[*batch, height, width, channels]`."""
        return self.likelihood(self.decoder(latents))
