"""Compression and decompression of arrays of images by a trained model."""

import hashlib
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from vae_jax.applications.compression import bits_back, dependence
from vae_jax.applications.compression.bits_back import Images, Latents, NextBit
from vae_jax.applications.compression.file_format import CompressedImages
from vae_jax.data import image_arrays
from vae_jax.distributions import (
    NUM_LEVELS,
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    Distribution,
    MixtureOfDiscretizedLogistics,
    Normal,
)
from vae_jax.errors import UserError
from vae_jax.networks.precision import full_precision
from vae_jax.trained import TrainedModel

_BATCH_SIZE = 256
# Outputs of the decoder per call.
_MAX_OUTPUTS = 2**24


class Compressor:
    """A lossless code for images, from a trained model.

    Images are uint8 or bool, `[num, height, width, channels]` or, of one channel, `[num, height,
    width]`. A likelihood of zeros and ones takes bool, or uint8 with no more than two values: 0
    and either 1 or 255. One of 256 levels takes uint8.

    The networks run on the CPU, where their bits do not change from run to run: machines with and
    without an accelerator write the same file. They run over batches of one size, which are filled
    up with black images.

    Attributes:
      image_shape: height, width, channels.
      latent_size: number of latent dimensions.
      num_level_bits: bits of a pixel's level, 1 or 8.
      batch_size: images that the networks see at once.
      digest: of the network and its parameters.
      initial_bytes: bytes that the coder begins with, for the first image's latents. They do not
        grow with the number of images.
    """

    def __init__(self, model: TrainedModel) -> None:
        """Take the model's posterior, likelihood and parameters.

        Raises:
          UserError: its latents or its likelihood cannot be coded, or JAX has no CPU backend.
        """
        _refuse_uncodable(model)
        self.image_shape = model.image_shape
        self.latent_size = model.latent_size
        likelihood = model.likelihood
        self.num_level_bits = 1 if likelihood.support == "zeros and ones" else 8
        outputs = math.prod(self.image_shape) * likelihood.outputs_per_channel
        self.batch_size = max(1, min(_BATCH_SIZE, _MAX_OUTPUTS // outputs))
        self.digest = dependence.model_digest(model)
        self.initial_bytes = self._initial_words().nbytes
        self._flat_digest = dependence.flat_digest(model)
        # Arguments on the CPU make a program that runs there.
        self._params = jax.device_put(model.state, dependence.cpu())
        levels = 2**self.num_level_bits

        @full_precision
        def posterior(params: nnx.State, images: Array) -> tuple[Array, Array]:
            vae = nnx.merge(model.graphdef, params)
            normal = vae.encode(images / (levels - 1))
            assert isinstance(normal, Normal)
            return normal.mean, jnp.exp(normal.log_scale)

        @full_precision
        def decode(params: nnx.State, latents: Array) -> Distribution:
            return nnx.merge(model.graphdef, params).decode(latents)

        self._posterior = jax.jit(posterior)
        self._decode = jax.jit(decode)
        self._next_bit = jax.jit(_next_bit)

    def compress(self, images: np.ndarray) -> CompressedImages:
        """Compress images, at least one.

        Raises:
          UserError: the model does not take images of this shape or these values.
        """
        channelled = image_arrays.with_channels(images, self.image_shape)
        brightest = brightest_level(images, self.num_level_bits)
        levels = channelled // np.uint8(level_height(brightest, self.num_level_bits))
        return CompressedImages(
            model=self.digest,
            images=dependence.images_digest(images),
            shape=images.shape,
            dtype=images.dtype.name,
            brightest=brightest,
            platform=dependence.platform_name(),
            words=bits_back.encode(self, levels.astype(np.int32), self._initial_words()),
        )

    def decompress(self, compressed: CompressedImages) -> np.ndarray:
        """Return the images, exactly as they were.

        Raises:
          UserError: they were compressed with another model, or where the networks' outputs have
            other bits.
        """
        dependence.refuse_other_model(compressed, self.digest, self._flat_digest)
        try:
            levels, rest = bits_back.decode(
                self, compressed.words, compressed.shape[0], compressed.version
            )
            values = levels * level_height(compressed.brightest, self.num_level_bits)
            images = values.astype(compressed.dtype).reshape(compressed.shape)
            exact = np.array_equal(rest, self._initial_words())
        except ValueError as error:
            raise UserError(dependence.elsewhere(compressed)) from error
        if not exact or dependence.images_digest(images) != compressed.images:
            raise UserError(dependence.elsewhere(compressed))
        return images

    def _initial_words(self) -> np.ndarray:
        """Return pseudorandom words, the same everywhere."""
        num = bits_back.num_initial_words(self.latent_size)
        words = np.frombuffer(hashlib.shake_256(b"bits back").digest(4 * num), "<u4")
        # The entropy coder refuses a stack with a zero on top.
        return np.append(words, 1).astype(np.uint32)

    def posterior(self, images: Images) -> tuple[Latents, Latents]:
        """Return mean and standard deviation of the latents of each image, for the coder.

        Raises:
          UserError: one is not finite.
        """
        padded = self._padded(images.astype(np.float32))
        mean, scale = (
            np.asarray(part)[: len(images)] for part in self._posterior(self._params, padded)
        )
        if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
            raise UserError("the model's posterior has values that are not finite")
        return mean, scale

    def next_bit(self, latents: Latents) -> NextBit:
        """Return p(x|z) as a function that gives the probabilities bit by bit, for the coder.

        The function raises UserError where a probability is not finite.
        """
        likelihood = self._decode(self._params, self._padded(latents))

        def probability(known: Images, position: int) -> np.ndarray:
            ones = np.asarray(self._next_bit(likelihood, self._padded(known), position))
            if not np.isfinite(ones).all():
                raise UserError("the model's likelihood has values that are not finite")
            return ones[: len(known)]

        return probability

    def _padded(self, values: np.ndarray) -> np.ndarray:
        missing = self.batch_size - len(values)
        return np.pad(values, [(0, missing), *[(0, 0)] * (values.ndim - 1)])


def level_height(brightest: int, num_level_bits: int) -> int:
    """Return the difference in value between neighbouring levels."""
    return int(brightest // (2**num_level_bits - 1))


def brightest_level(images: np.ndarray, num_level_bits: int) -> int:
    """Return the value of the brightest level of images.

    Args:
      images: of any shape.
      num_level_bits: bits of a pixel's level, 1 or 8.

    Raises:
      UserError: there are values that are not levels.
    """
    if num_level_bits == 8:
        if images.dtype != np.uint8:
            raise UserError(f"the images are {images.dtype}; this model takes uint8")
        return NUM_LEVELS - 1
    if images.dtype == np.bool_:
        return 1
    if images.dtype != np.uint8:
        raise UserError(f"the images are {images.dtype}; this model takes uint8 or bool")
    brightest = 255 if (images == 255).any() else 1
    others = images[(images != 0) & (images != brightest)]
    if others.size:
        raise UserError(
            f"the images hold {others[0]}; this model is of black and white: bool, or uint8 "
            "with the values 0 and 1, or 0 and 255"
        )
    return brightest


def _next_bit(likelihood: Distribution, known: Array, position: Array) -> Array:
    """Return the probability that the bit at `position` is 1, given those above it."""
    if isinstance(likelihood, Bernoulli):
        return likelihood.mean
    assert isinstance(likelihood, Categorical | DiscretizedLogistic | MixtureOfDiscretizedLogistics)
    half = 1 << position
    low, middle, high = ((known + step).astype(jnp.float32) for step in (0, half, 2 * half))
    zero = likelihood.interval_probability(low, middle)
    one = likelihood.interval_probability(middle, high)
    total = zero + one
    # Both vanish where the known bits are all but impossible.
    return jnp.where(total == 0, 0.5, one / total)


def _refuse_uncodable(model: TrainedModel) -> None:
    if model.has_codes:
        raise UserError(
            f"model={model.name!r} has codes and compresses with loss alone; use "
            "experiments.compress"
        )
    if not (model.has_density and model.has_normal_posterior and model.has_standard_prior):
        raise UserError(
            f"model={model.name!r} with these parts cannot compress images: bits-back coding takes "
            "independent latents, model='vae' with posterior='diagonal' and prior='standard'"
        )
    if model.likelihood.support == "continuous":
        raise UserError(
            f"model.likelihood={model.likelihood_name!r} cannot compress images, for it is a "
            "density; use bernoulli, categorical, discretized_logistic or "
            "discretized_logistic_mixture"
        )
