"""Parts from outside the package, one of each kind, which configs name by import path."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from vae_jax.distributions import Normal
from vae_jax.models import BernoulliLikelihood, DiagonalNormal, StandardNormalPrior
from vae_jax.models.interfaces import LIKELIHOODS, LikelihoodPart, Model
from vae_jax.models.networks import Networks
from vae_jax.networks.choices import ENCODERS, EncoderPart
from vae_jax.objectives import Objective
from vae_jax.settings import Traced, bounded, integer, part, traced
from vae_jax.training.optimizers import Optimizer


class Layer(nnx.Module):
    """A dense layer and its width."""

    def __init__(self, inputs, width, *, rngs):
        self.linear = nnx.Linear(inputs, width, rngs=rngs)
        self.num_features = width

    def __call__(self, images):
        return jnp.tanh(self.linear(images.reshape(*images.shape[:-3], -1)))


@dataclasses.dataclass(frozen=True)
class Encoder:
    """One layer of hyperbolic tangents."""

    width: int = integer(6, "Units.", at_least=1)

    def build(self, image_shape, *, rngs):
        return Layer(math.prod(image_shape), self.width, rngs=rngs)


@dataclasses.dataclass(frozen=True)
class Decoder:
    """One layer to all pixels, without `set_output_bias`."""

    def build(self, latent_size, image_shape, outputs_per_channel, *, rngs):
        height, width, channels = image_shape
        shape = (height, width, channels * outputs_per_channel)
        linear = nnx.Linear(latent_size, math.prod(shape), rngs=rngs)
        return Reshaped(linear, shape)


class Reshaped(nnx.Module):
    """A layer's outputs as images."""

    def __init__(self, linear, shape):
        self.linear, self.shape = linear, shape

    def __call__(self, latents):
        return self.linear(latents).reshape(*latents.shape[:-1], *self.shape)


@dataclasses.dataclass(frozen=True)
class Posterior:
    """Independent normals, by another name."""

    is_normal = True
    has_density = True

    def build(self, num_features, latent_size, *, rngs):
        return DiagonalNormal(num_features, latent_size, rngs=rngs)


@dataclasses.dataclass(frozen=True)
class Prior:
    """A normal of another scale."""

    log_scale: float = bounded(0.5, "Log of its scale.")

    def build(self, latent_size, start, *, rngs):
        return WidePrior(latent_size, self.log_scale)


class WidePrior(StandardNormalPrior):
    """Wider than the standard normal."""

    is_standard = False

    def __init__(self, latent_size, log_scale):
        self.latent_size, self.log_scale = latent_size, log_scale

    def __call__(self, encode):
        return Normal(jnp.zeros(self.latent_size), jnp.full(self.latent_size, self.log_scale))


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Zeros and ones, by another name."""

    def build(self):
        return BernoulliLikelihood()


@dataclasses.dataclass(frozen=True)
class Loss(Objective):
    """The distortion and a weighted square of the latents."""

    needs_density: ClassVar[bool] = False

    weight: Traced = traced(0.1, "Weight of the square.", at_least=0.0)

    def loss(self, model, batch, key, *, epoch, num_examples, **networks):
        latents = model.latents(batch.inputs)
        distortion = -model.decode(latents).log_prob(batch.targets).mean()
        square = jnp.square(latents).sum(axis=-1).mean()
        return distortion + self.weight * square, {"distortion": distortion, "square": square}


@dataclasses.dataclass(frozen=True)
class SignDescent(Optimizer):
    """The signs of the gradients."""

    def direction(self):
        return optax.stateless(lambda updates, params: jax.tree.map(jnp.sign, updates))


@dataclasses.dataclass(frozen=True)
class Halved:
    """Half the learning rate at every step."""

    def factor(self, num_steps, epochs):
        return optax.constant_schedule(0.5)


@dataclasses.dataclass(frozen=True)
class Fog:
    """A share of grey over the whole image."""

    density: Traced = traced(0.25, "Share of the grey.", at_least=0.0, at_most=1.0)

    def corrupt(self, key, images):
        return (1 - self.density) * images + self.density * 0.5


class Average(nnx.Variable):
    """State that is learned without a gradient."""


class CentredAutoencoder(Model):
    """An autoencoder whose codes are centred by a running mean, which only training moves."""

    has_density = False

    def __init__(self, encoder, decoder, likelihood, latent_size, decay, *, rngs):
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.bottleneck = nnx.Linear(encoder.num_features, latent_size, rngs=rngs)
        self.latent_size, self.decay = latent_size, decay
        self.centre = Average(jnp.zeros(latent_size))

    def codes(self, images):
        return self.bottleneck(self.encoder(images))

    def latents(self, images):
        return self.codes(images) - self.centre[...]

    def decode(self, latents):
        return self.likelihood(self.decoder(latents))

    def follow(self, images):
        """Move the running mean towards that of a batch."""
        mean = jax.lax.stop_gradient(self.codes(images).mean(axis=0))
        self.centre[...] = self.decay * self.centre[...] + (1 - self.decay) * mean


@dataclasses.dataclass(frozen=True)
class Centred(Networks):
    """An autoencoder whose codes are centred."""

    has_density: ClassVar[bool] = False
    default_objective: ClassVar[str] = "own_parts:Following"

    encoder: EncoderPart = part("mlp", ENCODERS, EncoderPart, "Images to features.")
    likelihood: LikelihoodPart = part("bernoulli", LIKELIHOODS, LikelihoodPart, "p(x|z).")
    decay: float = bounded(0.75, "Decay of the running mean.", at_least=0.0, below=1.0)

    def build(self, spec, mean_image, *, rngs):
        likelihood = self.likelihood.build()
        networks = self.build_networks(spec, likelihood, mean_image, rngs=rngs)
        return CentredAutoencoder(*networks, likelihood, self.latent_size, self.decay, rngs=rngs)


@dataclasses.dataclass(frozen=True)
class Following(Objective):
    """The distortion of centred codes; every batch moves the centre."""

    needs_density: ClassVar[bool] = False

    def loss(self, model, batch, key, *, epoch, num_examples, **networks):
        distortion = -model.decode(model.latents(batch.inputs)).log_prob(batch.targets).mean()
        model.follow(batch.inputs)
        return distortion, {"distortion": distortion}
