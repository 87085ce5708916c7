"""A VAE whose latents are classes: independent categorical variables with a uniform prior."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions import Distribution, OneHot
from vae_jax.models.interfaces import (
    LIKELIHOODS,
    MODELS,
    Decoder,
    DensityModel,
    Encoder,
    Likelihood,
    LikelihoodPart,
)
from vae_jax.models.networks import Networks
from vae_jax.models.rows import build_likelihood
from vae_jax.networks.choices import ImageShape
from vae_jax.networks.initializers import INITIALIZERS, LECUN, Initializer
from vae_jax.settings import integer, one_of, part, register


class CategoricalVAE(DensityModel):
    """Images to groups of classes and back (Jang et al. 2016, arXiv 1611.01144).

    Latents are one-hot vectors side by side, and p(z) is uniform.
    """

    has_discrete_latents: ClassVar[bool] = True

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        likelihood: Likelihood,
        latent_size: int,
        num_classes: int,
        *,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.logits = nnx.Linear(
            encoder.num_features, latent_size, kernel_init=kernel_init, rngs=rngs
        )
        self.latent_size = latent_size
        self.num_classes = num_classes

    @property
    def has_posterior_density(self) -> bool:
        """True: q(z|x) has a probability of any one-hot vectors."""
        return True

    @property
    def prior(self) -> OneHot:
        """p(z), uniform over the classes of each group."""
        return OneHot(jnp.zeros((self.latent_size // self.num_classes, self.num_classes)))

    def encode(self, images: Float[Array, "*batch height width channels"]) -> OneHot:
        """Return q(z|x) over one-hot vectors `[*batch, latents]`."""
        logits = self.logits(self.encoder(images))
        return OneHot(logits.reshape(*logits.shape[:-1], -1, self.num_classes))

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """Return p(x|z) over `[*batch, height, width, channels]`."""
        return self.likelihood(self.decoder(latents))


@register(MODELS, "categorical")
@dataclasses.dataclass(frozen=True)
class CategoricalSettings(Networks):
    """A VAE of categorical latents with a uniform prior (Jang et al. 2016, arXiv 1611.01144).

    `latent_size` counts the classes of all groups together.
    """

    has_density: ClassVar[bool] = True
    has_discrete_latents: ClassVar[bool] = True
    default_objective: ClassVar[str] = "gumbel"

    likelihood: LikelihoodPart = part("bernoulli", LIKELIHOODS, LikelihoodPart, "p(x|z).")
    num_classes: int = integer(
        2, "Classes of each group, which must divide latent_size.", at_least=2
    )
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the logits' matrix.")

    def problem(self) -> str | None:
        """Return why these parts do not fit together; None if they do."""
        if self.latent_size % self.num_classes:
            return (
                f"latent_size={self.latent_size} must be a multiple of "
                f"num_classes={self.num_classes}: a one-hot vector for each group"
            )
        return super().problem()

    def build(
        self,
        spec: ImageShape,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        rngs: nnx.Rngs,
    ) -> CategoricalVAE:
        """Return the model with fresh parameters."""
        likelihood: Any = build_likelihood(self.likelihood, spec)
        encoder, decoder = self.build_networks(spec, likelihood, mean_image, rngs=rngs)
        return CategoricalVAE(
            encoder,
            decoder,
            likelihood,
            self.latent_size,
            self.num_classes,
            kernel_init=INITIALIZERS[self.initializer],
            rngs=rngs,
        )
