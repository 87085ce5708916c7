"""The model that a config describes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from vae_jax.config.bodies import build_bodies, build_likelihood
from vae_jax.config.forms import DataForm
from vae_jax.config.multimodal import build_joint_model
from vae_jax.models import (
    VAE,
    Autoencoder,
    AutoregressiveFlow,
    ConditionalNormal,
    DiagonalNormal,
    Discriminator,
    FactorVAE,
    FlowPrior,
    LadderVAE,
    MarkovVAE,
    MixturePrior,
    StandardNormalPrior,
    VampPrior,
)
from vae_jax.models.interfaces import Decoder, Encoder, Likelihood, PriorNetwork
from vae_jax.models.multimodal import MultimodalVAE
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.networks.initializers import INITIALIZERS


def _build_vae(
    config: ConfigDict,
    encoder: Encoder,
    decoder: Decoder,
    likelihood: Likelihood,
    mean_image: Float[Array, "height width channels"],
    rngs: nnx.Rngs,
) -> VAE:
    model = config.model
    dense: dict[str, Any] = {"kernel_init": INITIALIZERS[model.initializer], "rngs": rngs}
    hidden: dict[str, Any] = {"activation": ACTIVATIONS[model.activation], **dense}
    flow = {"num_layers": model.flow_layers, "width": model.flow_width, **hidden}
    # The prior belongs to the layer that is farthest from the image.
    prior_size = model.latent_size if model.hierarchy == "none" else model.top_latent_size
    priors: dict[str, Callable[[], PriorNetwork]] = {
        "flow": lambda: FlowPrior(prior_size, **flow),
        "mixture": lambda: MixturePrior(prior_size, model.prior_components, rngs=rngs),
        "standard": lambda: StandardNormalPrior(prior_size),
        "vamp": lambda: VampPrior(mean_image, model.prior_components, rngs=rngs),
    }
    if model.posterior == "iaf":
        posterior = AutoregressiveFlow(encoder.num_features, model.latent_size, **flow)
        return VAE(encoder, decoder, likelihood, posterior, priors[model.prior]())
    bottom = DiagonalNormal(encoder.num_features, model.latent_size, **dense)
    if config.objective.name == "factor":
        prior, widths = priors[model.prior](), list(model.discriminator_widths)
        discriminator = Discriminator(model.latent_size, widths, rngs=rngs)
        return FactorVAE(encoder, decoder, likelihood, bottom, prior, discriminator)
    if model.hierarchy == "none":
        return VAE(encoder, decoder, likelihood, bottom, priors[model.prior]())
    hidden["gated"] = model.gated
    ladder, widths = model.hierarchy == "ladder", list(model.top_widths)
    top = ConditionalNormal(
        encoder.num_features if ladder else model.latent_size, widths, prior_size, **hidden
    )
    generative = ConditionalNormal(prior_size, widths[::-1], model.latent_size, **hidden)
    model_class = LadderVAE if ladder else MarkovVAE
    parts = encoder, decoder, likelihood, bottom, top, generative
    return model_class(*parts, priors[model.prior]())


def build_model(
    config: ConfigDict,
    form: DataForm,
    key: Key[Array, ""],
    mean_image: Any = None,
) -> VAE | Autoencoder | MultimodalVAE:
    """The model with fresh parameters.

    Args:
      config: a validated config.
      form: height, width, channels; or the forms of several modalities.
      key: of the initial parameters.
      mean_image: mean of the training images in the unit interval, where the pseudo-inputs of a
        VampPrior start, and the decoder as the config says; of several modalities, by name.
    """
    if isinstance(form, dict):
        return build_joint_model(config, form, key, mean_image)
    image_shape = form
    section = config.model
    rngs = nnx.Rngs(key)
    likelihood = build_likelihood(config)
    encoder, decoder = build_bodies(config, image_shape, likelihood, mean_image, rngs)
    if section.name == "autoencoder":
        kernel_init = INITIALIZERS[section.initializer]
        return Autoencoder(
            encoder, decoder, likelihood, section.latent_size, kernel_init=kernel_init, rngs=rngs
        )
    start = jnp.full(image_shape, 0.5) if mean_image is None else mean_image
    return _build_vae(config, encoder, decoder, likelihood, start, rngs)


def latent_size(config: ConfigDict) -> int:
    """Number of latent dimensions, those of both layers where there are two."""
    return int(config.model.latent_size + config.model.top_latent_size)


def build_graphdef(config: ConfigDict, form: DataForm) -> nnx.GraphDef:
    """The model without its parameters, for `nnx.merge`."""
    model = nnx.eval_shape(lambda: build_model(config, form, jax.random.key(0)))
    return nnx.split(model)[0]
