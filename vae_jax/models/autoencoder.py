"""The deterministic autoencoder, with the same networks and likelihoods as the VAE."""

import dataclasses
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions import Distribution
from vae_jax.models.interfaces import (
    LIKELIHOODS,
    MODELS,
    Decoder,
    Encoder,
    Likelihood,
    LikelihoodPart,
    Model,
)
from vae_jax.models.networks import Networks
from vae_jax.models.rows import build_likelihood
from vae_jax.networks.choices import ImageShape
from vae_jax.networks.initializers import INITIALIZERS, LECUN, Initializer
from vae_jax.settings import one_of, part, register


class Autoencoder(Model):
    """Images to one latent vector each and back; no prior, and no bound on log p(x)."""

    has_density: ClassVar[bool] = False

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
        """Return the code of each image."""
        return self.bottleneck(self.encoder(images))

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """Return p(x|z) over `[*batch, height, width, channels]`."""
        return self.likelihood(self.decoder(latents))


@register(MODELS, "autoencoder")
@dataclasses.dataclass(frozen=True)
class AutoencoderSettings(Networks):
    """The deterministic autoencoder."""

    has_density: ClassVar[bool] = False
    default_objective: ClassVar[str] = "reconstruction"

    likelihood: LikelihoodPart = part("bernoulli", LIKELIHOODS, LikelihoodPart, "p(x|z).")
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the bottleneck.")

    def build(
        self,
        spec: ImageShape,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        rngs: nnx.Rngs,
    ) -> Autoencoder:
        """Return the model with fresh parameters."""
        likelihood: Any = build_likelihood(self.likelihood, spec)
        encoder, decoder = self.build_networks(spec, likelihood, mean_image, rngs=rngs)
        kernel_init = INITIALIZERS[self.initializer]
        return Autoencoder(
            encoder, decoder, likelihood, self.latent_size, kernel_init=kernel_init, rngs=rngs
        )
