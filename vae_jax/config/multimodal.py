"""The joint model that a config describes, and its objective."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from vae_jax.config.bodies import build_bodies, build_likelihood
from vae_jax.config.datasets import build_prepare
from vae_jax.data.captions.vocabulary import SPECIAL
from vae_jax.data.multimodal import PRESENT
from vae_jax.data.pixels import StoredExamples
from vae_jax.models.modalities import (
    ClassModality,
    Form,
    Forms,
    ImageModality,
    Modality,
    TextModality,
)
from vae_jax.models.multimodal import MultimodalVAE
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.networks.classes import ClassDecoder, ClassEncoder
from vae_jax.networks.initializers import INITIALIZERS
from vae_jax.networks.text import TextDecoder, TextEncoder, drop_words
from vae_jax.objectives import multimodal as objectives
from vae_jax.objectives.bounds import warmup
from vae_jax.objectives.multimodal import Batch, Weights
from vae_jax.training.step import Hyperparameters, LossFn, Metrics

# prepare(key, stored examples by modality) -> values by modality.
PrepareModalities = Callable[[Key[Array, ""], Mapping[str, Array]], dict[str, Array]]


def _build_modality(
    config: ConfigDict, form: Form, mean_image: Float[Array, "..."] | None, rngs: nnx.Rngs
) -> Modality:
    section = config.model
    widths = list(section.widths)
    dense: dict[str, Any] = {"kernel_init": INITIALIZERS[section.initializer], "rngs": rngs}
    hidden: dict[str, Any] = {"activation": ACTIVATIONS[section.activation], **dense}
    if form.kind == "class":
        num_classes = form.shape[0]
        return ClassModality(
            ClassEncoder(num_classes, widths, **hidden),
            ClassDecoder(section.latent_size, num_classes, widths[::-1], **hidden),
        )
    if form.kind == "text":
        num_words = len(SPECIAL) + len(form.words)
        sizes = section.embedding_size, section.text_width
        return TextModality(
            TextEncoder(num_words, *sizes, **hidden),
            TextDecoder(section.latent_size, num_words, form.shape[0], *sizes, **dense),
        )
    height, width, channels = form.shape
    likelihood = build_likelihood(config)
    encoder, decoder = build_bodies(config, (height, width, channels), likelihood, mean_image, rngs)
    return ImageModality(encoder, decoder, likelihood)


def build_joint_model(
    config: ConfigDict,
    forms: Forms,
    key: Key[Array, ""],
    mean_images: Mapping[str, Float[Array, "height width channels"]] | None = None,
) -> MultimodalVAE:
    """The model with fresh parameters.

    Args:
      config: a validated config.
      forms: of its modalities.
      key: of the initial parameters.
      mean_images: of the modalities that are images, where their decoders start as the config says.
    """
    section, rngs, means = config.model, nnx.Rngs(key), mean_images or {}
    modalities = {
        name: _build_modality(config, form, means.get(name), rngs) for name, form in forms.items()
    }
    joint_encoders = None
    if section.joint_posterior == "joint":
        joint_encoders = {
            name: _build_modality(config, form, None, rngs).encoder for name, form in forms.items()
        }
    return MultimodalVAE(
        modalities,
        section.latent_size,
        section.joint_posterior,
        joint_encoders,
        kernel_init=INITIALIZERS[section.initializer],
        rngs=rngs,
    )


def modality_weights(config: ConfigDict) -> tuple[float, ...]:
    """The weight of each modality's log likelihood; 1 where the config names none."""
    weights = tuple(config.objective.modality_weights)
    return weights or (1.0,) * len(config.data.modalities)


def _build_prepare_modalities(config: ConfigDict) -> PrepareModalities:
    """How stored examples become values: images as a VAE of images sees them, the rest as it is."""
    prepare_images = build_prepare(config)

    def prepare(key: Key[Array, ""], examples: Mapping[str, Array]) -> dict[str, Array]:
        values = {}
        for name, part_key in zip(examples, jax.random.split(key, len(examples)), strict=True):
            array = examples[name]
            values[name] = prepare_images(part_key, array) if array.ndim == 4 else array
        return values

    return prepare


def build_joint_loss(config: ConfigDict, graphdef: nnx.GraphDef) -> LossFn:
    """The objective as a function of parameters and stored examples, all present or as they say.

    Args:
      config: a validated config.
      graphdef: the model without its parameters.
    """
    section, kind = config.objective, config.model.joint_posterior
    prepare = _build_prepare_modalities(config)
    likelihood_weights = jnp.asarray(modality_weights(config), jnp.float32)

    def loss_fn(
        params: nnx.State,
        examples: StoredExamples,
        hparams: Hyperparameters,
        epoch: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        assert isinstance(examples, dict)
        prepare_key, drop_key, sample_key = jax.random.split(key, 3)
        model = nnx.merge(graphdef, params)
        values = prepare(prepare_key, {name: examples[name] for name in model.names})
        texts = [name for name in model.names if isinstance(model.modalities[name], TextModality)]
        # Validation, at an infinite epoch, is of the model that evaluation sees.
        share = jnp.where(jnp.isfinite(epoch), hparams.word_dropout, 0)
        contexts = {
            name: drop_words(jax.random.fold_in(drop_key, i), values[name], share)
            for i, name in enumerate(texts)
        }
        batch = Batch(values, model.presence(values, examples.get(PRESENT)), contexts)
        ramp = warmup(epoch, hparams.warmup_epochs, hparams.warmup_cycle_epochs)
        weights = Weights(likelihood_weights, hparams.beta * ramp)
        others: Metrics = {}
        if kind == "joint":
            objective, terms, others = objectives.jmvae_objective(
                model,
                batch,
                sample_key,
                weights=weights,
                unimodal_kl_weight=hparams.unimodal_kl_weight,
            )
        elif kind == "product":
            objective, terms = objectives.mvae_objective(
                model, batch, sample_key, weights=weights, num_subsets=section.num_subsets
            )
        elif kind == "mixture":
            objective, terms = objectives.mmvae_objective(
                model, batch, sample_key, weights=weights, num_samples=section.num_samples
            )
        else:
            terms = objectives.joint_elbo(model, batch, sample_key)
            objective = terms.weighted(weights)
        return -objective.mean(), {**terms.means(model.names), **others}

    return loss_fn
