"""The bodies that a config describes, and the likelihood of their images."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from vae_jax.config.forms import ImageShape
from vae_jax.models.interfaces import Decoder, Encoder, Likelihood
from vae_jax.models.likelihoods import LIKELIHOODS, unaccepted
from vae_jax.networks import (
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    ResidualDecoder,
    ResidualEncoder,
)
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.networks.initializers import INITIALIZERS
from vae_jax.networks.precision import COMPUTE_DTYPES


def build_likelihood(config: ConfigDict) -> Likelihood:
    """The likelihood that the config names, as it starts."""
    section = config.model
    options: dict[str, dict[str, Any]] = {
        "discretized_logistic_mixture": {"num_components": section.num_mixture},
        "laplace": {"scale": section.likelihood_scale},
        "normal": {"scale": section.likelihood_scale, "kind": section.normal_scale},
    }
    return LIKELIHOODS[section.likelihood](**options.get(section.likelihood, {}))


def refused_values(config: ConfigDict, images: np.ndarray) -> str | None:
    """What is wrong with finite floating images for the likelihood; None if it accepts them."""
    return unaccepted(build_likelihood(config).accepts, images)


def build_bodies(
    config: ConfigDict,
    image_shape: ImageShape,
    likelihood: Likelihood,
    mean_image: Float[Array, "height width channels"] | None,
    rngs: nnx.Rngs,
) -> tuple[Encoder, Decoder]:
    """The encoder and the decoder of images of one shape, with fresh parameters.

    The decoder starts at the mean image, if there is one, or at the grey one, as the config says.
    """
    encoder, decoder = _build_pair(config, image_shape, likelihood.outputs_per_channel, rngs)
    if mean_image is not None:
        grey = config.model.decoder_start == "grey"
        start = jnp.full_like(mean_image, 0.5) if grey else mean_image
        decoder.set_output_bias(start, likelihood.output_for_mean)
    return encoder, decoder


def _build_pair(
    config: ConfigDict, image_shape: ImageShape, outputs_per_channel: int, rngs: nnx.Rngs
) -> tuple[Encoder, Decoder]:
    model = config.model
    widths = list(model.widths)
    options: dict[str, Any] = {
        "activation": ACTIVATIONS[model.activation],
        "kernel_init": INITIALIZERS[model.initializer],
        "dtype": COMPUTE_DTYPES[model.compute_dtype],
        "rngs": rngs,
    }
    if model.network == "mlp":
        options["gated"] = model.gated
        return (
            MLPEncoder(image_shape, widths, **options),
            MLPDecoder(
                model.latent_size,
                image_shape,
                widths[::-1],
                outputs_per_channel=outputs_per_channel,
                **options,
            ),
        )
    channels = list(model.channels)
    options["kernel_size"] = model.kernel_size
    bodies: tuple[Callable[..., Encoder], Callable[..., Decoder]] = ConvEncoder, ConvDecoder
    if model.network == "resnet":
        bodies = ResidualEncoder, ResidualDecoder
        options |= {"num_blocks": model.blocks, "remat": model.remat}
    build_encoder, build_decoder = bodies
    return (
        build_encoder(image_shape, channels, widths, downsampling=model.downsampling, **options),
        build_decoder(
            model.latent_size,
            image_shape,
            channels,
            widths,
            upsampling=model.upsampling,
            outputs_per_channel=outputs_per_channel,
            **options,
        ),
    )
