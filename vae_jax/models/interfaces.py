"""What a model asks of the parts that it is built from, and what it is asked for itself."""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Array, Float, Key

from vae_jax.distributions import Distribution, Draw
from vae_jax.networks.activations import Link


@runtime_checkable
class Posterior(Protocol):
    """q(z|x) over `[*batch, latents]`."""

    @property
    def mean(self) -> Float[Array, "*batch latents"]:
        """The one latent vector that stands for an image."""

    def draw(self, noise: Float[Array, "*shape latents"], /) -> Draw:
        """Latents from standard normal noise `[*samples, *batch, latents]`, and log q(z|x)."""


@runtime_checkable
class TractablePosterior(Posterior, Protocol):
    """A posterior whose density is cheap at any latents, not at its own draws alone."""

    def log_prob(self, latents: Float[Array, "*shape latents"], /) -> Float[Array, "*shape"]:
        """Log q(z|x) in nats."""


@runtime_checkable
class Prior(Protocol):
    """p(z) over `[latents]`."""

    @property
    def mean(self) -> Float[Array, "*batch latents"]:
        """The one latent vector that stands for the prior."""

    def log_prob(self, latents: Float[Array, "*shape latents"], /) -> Float[Array, "*shape"]:
        """Log p(z) in nats."""

    def sample(self, key: Key[Array, ""], /) -> Float[Array, "*batch latents"]:
        """One draw."""


@runtime_checkable
class Factorized(Protocol):
    """A posterior or a prior that is a product over the dimensions, each given those before it."""

    def log_prob_by_dimension(
        self, latents: Float[Array, "*shape latents"], /
    ) -> Float[Array, "*shape latents"]:
        """The log density of each dimension in nats; their sum is that of the latents."""


Encode = Callable[[Float[Array, "*batch height width channels"]], Posterior]


@runtime_checkable
class PosteriorNetwork(Protocol):
    """Makes a posterior of an encoder's features."""

    latent_size: int

    def __call__(self, features: Float[Array, "*batch features"], /) -> Posterior:
        """q(z|x) over `[*batch, latents]`."""


@runtime_checkable
class PriorNetwork(Protocol):
    """Holds what is learned of a prior."""

    def __call__(self, encode: Encode, /) -> Prior:
        """p(z), which may depend on the model's own posterior, given as `encode`."""


# The finite floating images that a likelihood can be asked about.
Accepted = Literal["unit interval", "any finite", "256 levels"]
# What a likelihood spreads its probability over. If continuous, `log_prob` is a log density.
Support = Literal["zeros and ones", "256 levels", "continuous"]


@runtime_checkable
class Encoder(Protocol):
    """Images to features."""

    num_features: int

    def __call__(
        self, images: Float[Array, "*batch height width channels"], /
    ) -> Float[Array, "*batch features"]:
        """Features of each image."""


@runtime_checkable
class Decoder(Protocol):
    """Latents to images, unbounded: what a likelihood makes a distribution of."""

    def set_output_bias(
        self, mean_image: Float[Array, "height width channels"], link: Link, /
    ) -> None:
        """Let the decoder start at `link` of the data's mean, whatever the latents are."""

    def __call__(
        self, latents: Float[Array, "*batch latents"], /
    ) -> Float[Array, "*batch height width outputs"]:
        """Unbounded outputs for each latent vector, as many a channel as the likelihood takes."""


@runtime_checkable
class Likelihood(Protocol):
    """Turns a decoder's outputs into p(x|z).

    Attributes:
      accepts: the images that it can be asked about.
      support: what it spreads its probability over.
      outputs_per_channel: decoder outputs that it takes for each channel of an image.
    """

    accepts: Accepted
    support: Support
    outputs_per_channel: int

    def __call__(self, outputs: Float[Array, "*batch height width outputs"], /) -> Distribution:
        """p(x|z) over images `[*batch, height, width, channels]`, `event_ndim` 3."""

    def output_for_mean(
        self, mean: Float[Array, "*shape channels"], /
    ) -> Float[Array, "*shape outputs"]:
        """The decoder outputs whose likelihood has the given mean."""
