"""The variational autoencoder of Kingma & Welling 2013 (arXiv 1312.6114)."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions import Distribution
from vae_jax.models.interfaces import (
    LIKELIHOODS,
    MODELS,
    POSTERIORS,
    PRIORS,
    Decoder,
    DensityModel,
    Encoder,
    Likelihood,
    LikelihoodPart,
    Posterior,
    PosteriorNetwork,
    PosteriorPart,
    Prior,
    PriorNetwork,
    PriorPart,
)
from vae_jax.models.networks import Networks
from vae_jax.models.rows import build_likelihood
from vae_jax.networks.choices import ImageShape
from vae_jax.settings import name_of, part, register


class VAE(DensityModel):
    """A VAE: q(z|x) from the encoder's features, a prior p(z), p(x|z) from the decoder."""

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
    def has_normal_posterior(self) -> bool:
        """True if q(z|x) is a diagonal normal, given by a mean and a scale."""
        return bool(getattr(self.posterior, "is_normal", False))

    @property
    def has_posterior_density(self) -> bool:
        """True if q(z|x) has a density at any latents, not only at its own draws."""
        return bool(getattr(self.posterior, "has_density", False))

    @property
    def has_standard_prior(self) -> bool:
        """True if p(z) is N(0, I)."""
        return bool(getattr(self.prior_network, "is_standard", False))

    @property
    def has_spherical_latents(self) -> bool:
        """True if latents are points on the unit sphere."""
        return bool(getattr(self.posterior, "is_on_sphere", False))

    @property
    def noise_size(self) -> int:
        """The number of normals that the posterior takes for one latent vector."""
        return int(getattr(self.posterior, "noise_size", self.latent_size))

    @property
    def prior(self) -> Prior:
        """p(z) over `[latents]`."""
        return self.prior_network(self.encode)

    def encode(self, images: Float[Array, "*batch height width channels"]) -> Posterior:
        """Return q(z|x) over `[*batch, latents]`."""
        return self.posterior(self.encoder(images))

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """Return p(x|z) over `[*batch, height, width, channels]`."""
        return self.likelihood(self.decoder(latents))


@register(MODELS, "vae")
@dataclasses.dataclass(frozen=True)
class VAESettings(Networks):
    """The variational autoencoder of Kingma & Welling 2013 (arXiv 1312.6114)."""

    has_density: ClassVar[bool] = True
    decoder_parts: ClassVar[tuple[str, ...]] = ("decoder", "likelihood")

    posterior: PosteriorPart = part("diagonal", POSTERIORS, PosteriorPart, "q(z|x).")
    prior: PriorPart = part("standard", PRIORS, PriorPart, "p(z).")
    likelihood: LikelihoodPart = part("bernoulli", LIKELIHOODS, LikelihoodPart, "p(x|z).")

    @property
    def has_normal_posterior(self) -> bool:
        """True if q(z|x) is a diagonal normal."""
        return bool(getattr(self.posterior, "is_normal", False))

    @property
    def has_posterior_density(self) -> bool:
        """True if q(z|x) has a density at any latents."""
        return bool(getattr(self.posterior, "has_density", False))

    @property
    def has_standard_prior(self) -> bool:
        """True if p(z) is N(0, I)."""
        return bool(getattr(self.prior, "is_standard", False))

    @property
    def has_spherical_latents(self) -> bool:
        """True if latents are points on the unit sphere."""
        return bool(getattr(self.posterior, "is_on_sphere", False))

    def problem(self) -> str | None:
        """Return why these parts do not fit together; None if they do."""
        for field, chosen in (("posterior", self.posterior), ("prior", self.prior)):
            least = getattr(chosen, "least_latents", 1)
            if self.latent_size < least:
                return (
                    f"latent_size={self.latent_size} must be at least {least} with "
                    f"{field}={name_of(chosen)!r}, where one dimension depends on another"
                )
        if self.has_spherical_latents and not getattr(self.prior, "is_on_sphere", False):
            return (
                f"prior={name_of(self.prior)!r} has no density on the sphere, which "
                f"posterior={name_of(self.posterior)!r} needs; use prior='uniform_sphere'"
            )
        if getattr(self.prior, "is_on_sphere", False) and not self.has_spherical_latents:
            return (
                f"prior={name_of(self.prior)!r} is on the sphere, and "
                f"posterior={name_of(self.posterior)!r} is not; use posterior='von_mises_fisher'"
            )
        if getattr(self.prior, "needs_normal_posterior", False) and not self.has_normal_posterior:
            return (
                f"prior={name_of(self.prior)!r} mixes independent normals, which "
                f"posterior={name_of(self.posterior)!r} does not give; use 'diagonal', or another "
                "prior"
            )
        return super().problem()

    def build(
        self,
        spec: ImageShape,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        rngs: nnx.Rngs,
    ) -> VAE:
        """Return the model with fresh parameters."""
        likelihood: Any = build_likelihood(self.likelihood, spec)
        encoder, decoder = self.build_networks(spec, likelihood, mean_image, rngs=rngs)
        start = jnp.full(spec, 0.5) if mean_image is None else mean_image
        posterior = self.posterior.build(encoder.num_features, self.latent_size, rngs=rngs)
        prior = self.prior.build(self.latent_size, start, rngs=rngs)
        return VAE(encoder, decoder, likelihood, posterior, prior)
