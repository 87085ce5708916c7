"""Images of which pixels were not seen, NaN: a mask for the encoder, a likelihood of the others.

As in Mattei & Frellsen 2019 (arXiv 1812.02633, section 3) for tables, with the mask of Collier et
al. 2020 (arXiv 2006.05301) beside the image, whose missing pixels are 0.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions.seen_pixels import SeenPixels
from vae_jax.models.interfaces import Accepted, Encoder, Likelihood, Support

Images = Float[Array, "*batch height width channels"]


class MaskedEncoder(nnx.Module):
    """Features of an image whose missing pixels are 0, and of a mask, 1 where they were seen.

    The mask has as many channels as the image, which follow those of the image.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.num_features = encoder.num_features

    def __call__(self, images: Images) -> Float[Array, "*batch features"]:
        seen = ~jnp.isnan(images)
        both = [jnp.where(seen, images, 0), seen.astype(images.dtype)]
        return self.encoder(jnp.concatenate(both, axis=-1))


class SeenLikelihood(nnx.Module):
    """A likelihood of independent pixels, over those that were seen."""

    def __init__(self, likelihood: Any) -> None:
        self.every = likelihood
        self.accepts: Accepted = likelihood.accepts
        self.support: Support = likelihood.support
        self.outputs_per_channel = int(likelihood.outputs_per_channel)

    def __call__(self, outputs: Float[Array, "*batch height width outputs"]) -> SeenPixels:
        return SeenPixels(self.every(outputs))

    def output_for_mean(self, mean: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the decoder outputs whose likelihood has the given mean."""
        outputs: Array = self.every.output_for_mean(mean)
        return outputs


def may_miss_pixels(model: Any) -> bool:
    """Return whether images of a model with these settings may hold NaN."""
    return bool(getattr(model, "missing_pixels", False))


def of_seen(likelihood: Likelihood, model: Any) -> Any:
    """Return the likelihood, of seen pixels alone where the model's settings say so."""
    return SeenLikelihood(likelihood) if may_miss_pixels(model) else likelihood
