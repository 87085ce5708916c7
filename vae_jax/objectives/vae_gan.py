"""The VAE-GAN (Larsen et al. 2015, arXiv 1512.09300): images compared as a discriminator sees them.

Three players move within a step, each by a loss of its own:

    encoder         rate + feature_error
    decoder         gamma feature_error - E[log D(reconstruction)] - E[log D(sample)]
    discriminator   -(E[log D(x)] + E[log(1 - D(reconstruction or sample))])

The decoder's loss is the non-saturating one, which has the paper's equilibrium. The paper gives
reconstructions and samples the weight of the images each; here they share it, so that D is 1/2 at
the equilibrium.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.distributions import Distribution
from vae_jax.models.interfaces import DensityModel
from vae_jax.models.rows import takes_rows
from vae_jax.networks.choices import ENCODERS, EncoderPart
from vae_jax.networks.discriminator import ImageDiscriminator
from vae_jax.objectives.base import (
    OBJECTIVES,
    Batch,
    Images,
    Metrics,
    Objective,
    Opponent,
    Scalar,
)
from vae_jax.objectives.bounds import ElboTerms, draw_noise, draw_prior, sampled_kl_parts
from vae_jax.objectives.games import PlayerSettings, discriminate, generator_loss
from vae_jax.settings import Traced, name_of, part, register, section, sizes, traced

DECODER_PARTS = ("decoder", "likelihood")


def feature_error(
    of_images: Float[Array, "batch features"], of_reconstructions: Float[Array, "batch features"]
) -> Scalar:
    """Return -log N(features of x; features of its reconstruction, I) in nats, less its constant.

    Half of the squared distance, summed over the features (Larsen et al. 2015, equation 7).
    """
    squares = jnp.square(of_images - of_reconstructions).sum(axis=-1)
    return 0.5 * squares.mean()


class _Encoded(NamedTuple):
    """The likelihoods at draws of the posteriors, and the KL in parts."""

    likelihood: Distribution
    kl: Float[Array, "batch parts"]


def _encode(model: DensityModel, inputs: Images, key: Key[Array, ""]) -> _Encoded:
    posterior = model.encode(inputs)
    latents, log_posterior = posterior.draw(draw_noise(model, 1, len(inputs), key))
    kl = sampled_kl_parts(posterior, model.prior, latents, log_posterior)[0]
    return _Encoded(model.decode(latents[0]), kl)


class _Decoded(NamedTuple):
    reconstructions: Images
    samples: Images


def _decode(model: DensityModel, inputs: Images, key: Key[Array, ""]) -> _Decoded:
    noise_key, prior_key = jax.random.split(key)
    reconstructions = _encode(model, inputs, noise_key).likelihood.mean
    samples = model.decode(draw_prior(model, len(inputs), prior_key)).mean
    return _Decoded(reconstructions, samples)


@dataclasses.dataclass(frozen=True)
class ImageDiscriminatorSettings(PlayerSettings):
    """The discriminator of images, and its Adam."""

    network: EncoderPart = part(
        "conv", ENCODERS, EncoderPart, "Images to the features in which they are compared."
    )
    widths: tuple[int, ...] = sizes(
        (), "Hidden layers between the features and log D; () is none.", may_be_empty=True
    )


@register(OBJECTIVES, "vae_gan")
@dataclasses.dataclass(frozen=True)
class VAEGAN(Objective):
    """Rate, and reconstructions compared in a discriminator's features (Larsen et al. 2015).

    The optimiser of the experiment is that of the encoder. Images are the means of p(x|z), so that
    a scale of the likelihood is not trained, and the discriminator sees grey values. The ELBO under
    the pixel likelihood is a bound all the same.
    """

    compares_means: ClassVar[bool] = True
    measures_gradients: ClassVar[bool] = True

    gamma: Traced = traced(
        1.0, "Weight of the features' error for the decoder, against fooling.", at_least=0.0
    )
    decoder: PlayerSettings = section(PlayerSettings, "The optimiser of the decoder.")
    discriminator: ImageDiscriminatorSettings = section(
        ImageDiscriminatorSettings, "The discriminator and its optimiser."
    )

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        if "decoder" not in getattr(model, "decoder_parts", ()):
            return (
                f"objective={name_of(self)!r} trains the decoder by a loss of its own, which "
                f"model={name_of(model)!r} does not separate from its other parts; use model='vae'"
            )
        # Rows of a table have a likelihood of their own, and are refused by the rules.
        likelihood = model.likelihood
        if takes_rows(likelihood):
            return None
        if jax.tree.leaves(nnx.state(likelihood.build(), nnx.Param)):
            return (
                f"objective={name_of(self)!r} compares images by the means of p(x|z), and would "
                f"not train the scale of model.likelihood={name_of(likelihood)!r}; use a "
                "fixed one, scale_kind='fixed'"
            )
        return None

    def score(self, metrics: dict[str, Any]) -> float:
        """Return the negative distortion of the pixels, which no discriminator enters."""
        return -float(metrics["distortion"])

    def networks(self, model: Any, form: Any, *, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
        """Return the discriminator with fresh parameters."""
        del model
        encoder = self.discriminator.network.build(form, rngs=rngs)
        widths = list(self.discriminator.widths)
        return {"discriminator": ImageDiscriminator(encoder, widths, rngs=rngs)}

    def opponents(self) -> tuple[Opponent, ...]:
        """Return the decoder and the discriminator, their losses and their optimisers."""
        parts = tuple(f"model.{name}" for name in DECODER_PARTS)
        return (
            self.decoder.opponent("decoder", self._decode, owns=parts),
            self.discriminator.opponent("discriminator", self._discriminate),
        )

    def loss(
        self,
        model: Any,
        batch: Batch,
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: Any,
    ) -> tuple[Scalar, Metrics]:
        """Return the encoder's loss, and the error and the terms of the ELBO as metrics."""
        del epoch, num_examples
        encoded = _encode(model, batch.inputs, key)
        means = ElboTerms(encoded.likelihood.log_prob(batch.targets), encoded.kl).means()
        discriminator = networks["discriminator"]
        error = feature_error(
            discriminator(batch.targets)[0], discriminator(encoded.likelihood.mean)[0]
        )
        return means["rate"] + error, {**means, "feature_error": error}

    def _decode(
        self,
        model: DensityModel,
        batches: tuple[Batch],
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: Any,
    ) -> tuple[Scalar, Metrics]:
        """Return the decoder's loss on a batch and on as many samples."""
        del epoch, num_examples
        inputs, targets = batches[0]
        discriminator = networks["discriminator"]
        decoded = _decode(model, inputs, key)
        features, of_reconstructions = discriminator(decoded.reconstructions)
        of_samples = discriminator(decoded.samples)[1]
        error = feature_error(discriminator(targets)[0], features)
        fooling = generator_loss(of_reconstructions) + generator_loss(of_samples)
        loss = self.gamma * error + fooling
        return loss, {"decoder_loss": loss, "generator_loss": fooling / 2}

    def _discriminate(
        self,
        model: DensityModel,
        batches: tuple[Batch],
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: Any,
    ) -> tuple[Scalar, Metrics]:
        """Return the discriminator's loss on images, their reconstructions and samples."""
        del epoch, num_examples
        inputs, targets = batches[0]
        discriminator = networks["discriminator"]
        of_images = discriminator(targets)[1]
        of_decoded = discriminator(jnp.concatenate(_decode(model, inputs, key)))[1]
        return discriminate(of_images, of_decoded)
