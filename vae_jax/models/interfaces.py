"""What a model asks of the bodies and of the likelihood that it is built from."""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float

from vae_jax.distributions import Distribution
from vae_jax.networks.activations import Link


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
    ) -> Float[Array, "*batch height width channels"]:
        """An unbounded image for each latent vector."""


@runtime_checkable
class Likelihood(Protocol):
    """Turns a decoder's output into p(x|z)."""

    def __call__(self, outputs: Float[Array, "*batch height width channels"], /) -> Distribution:
        """p(x|z) over images, `event_ndim` 3."""

    def output_for_mean(self, mean: Float[Array, "*shape"], /) -> Float[Array, "*shape"]:
        """The decoder output whose likelihood has the given mean."""
