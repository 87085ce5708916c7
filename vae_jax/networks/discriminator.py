"""The discriminator: latents to the log ratio of two densities."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.networks.initializers import HE
from vae_jax.networks.mlp import MLP
from vae_jax.networks.precision import Dense


def _leaky_relu(x: Array) -> Array:
    return jax.nn.leaky_relu(x, negative_slope=0.2)


class Discriminator(nnx.Module):
    """Latents to log D / (1 - D), with D the probability that they are draws of p rather than q.

    D separates draws of p from as many draws of q. The best D has log D / (1 - D) =
    log p(z) - log q(z). In a FactorVAE p is the aggregate posterior and q the product of its
    marginals; the paper has two logits, and only their difference matters, which is the one output
    here.
    """

    def __init__(self, latent_size: int, widths: Sequence[int], *, rngs: nnx.Rngs) -> None:
        self.mlp = MLP(
            latent_size, widths, activation=_leaky_relu, gated=False, kernel_init=HE, rngs=rngs
        )
        self.output = Dense(self.mlp.num_features, 1, rngs=rngs)

    def __call__(self, latents: Float[Array, "*batch latents"]) -> Float[Array, "*batch"]:
        return self.output(self.mlp(latents))[..., 0]


class ImageDiscriminator(nnx.Module):
    """Images to features, and those to log D / (1 - D), with D the probability of a real image."""

    def __init__(self, encoder: Any, widths: Sequence[int], *, rngs: nnx.Rngs) -> None:
        self.features = encoder
        self.log_ratio = Discriminator(encoder.num_features, widths, rngs=rngs)

    def __call__(
        self, images: Float[Array, "*batch height width channels"]
    ) -> tuple[Float[Array, "*batch features"], Float[Array, "*batch"]]:
        """Return the features and the log ratio of each image."""
        features = self.features(images)
        return features, self.log_ratio(features)
