"""Compression and decompression of arrays of images by a trained model."""

import hashlib
import importlib.metadata
import json
import math
import os
import platform
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from vae_jax.applications.compression import bits_back
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
        self.digest = _model_digest(model)
        self._flat_digest = _flat_digest(model)
        # Arguments on the CPU make a program that runs there.
        self._params = jax.device_put(model.state, _cpu())
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
        brightest = self._brightest(images)
        levels = channelled // np.uint8(self._level_height(brightest))
        return CompressedImages(
            model=self.digest,
            images=_images_digest(images),
            shape=images.shape,
            dtype=images.dtype.name,
            brightest=brightest,
            platform=_platform(),
            words=bits_back.encode(self, levels.astype(np.int32), self._initial_words()),
        )

    def decompress(self, compressed: CompressedImages) -> np.ndarray:
        """Return the images, exactly as they were.

        Raises:
          UserError: they were compressed with another model, or where the networks' outputs have
            other bits.
        """
        if compressed.model not in (self.digest, self._flat_digest):
            raise UserError(
                f"the images were compressed with the model {compressed.model}, and this is "
                f"{self.digest}; name the workdir of the run that compressed them, as it was then"
            )
        try:
            levels, rest = bits_back.decode(self, compressed.words, compressed.shape[0])
            values = levels * self._level_height(compressed.brightest)
            images = values.astype(compressed.dtype).reshape(compressed.shape)
            exact = np.array_equal(rest, self._initial_words())
        except ValueError as error:
            raise UserError(_elsewhere(compressed)) from error
        if not exact or _images_digest(images) != compressed.images:
            raise UserError(_elsewhere(compressed))
        return images

    def _level_height(self, brightest: int) -> int:
        """Return the difference in value between neighbouring levels."""
        return brightest // (2**self.num_level_bits - 1)

    def _brightest(self, images: np.ndarray) -> int:
        """Return the value of the brightest level.

        Raises:
          UserError: there are values that are not levels.
        """
        if self.num_level_bits == 8:
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


def _model_digest(model: TrainedModel) -> str:
    """Return 32 hexadecimal digits of SHA-256 over the network and its parameters.

    Settings that do not change what the network computes do not count.
    """
    digest = hashlib.sha256()
    described = [model.network, model.image_shape]
    digest.update(json.dumps(described, sort_keys=True).encode())
    _add_arrays(digest, model.state)
    return digest.hexdigest()[:32]


def _flat_digest(model: TrainedModel) -> str | None:
    """Return a model's digest as files of schema 1 state it; None for a later run.

    It counted every field of the flat config's model.
    """
    if model.flat_config is None:
        return None
    digest = hashlib.sha256()
    described = [model.flat_config["model"], model.image_shape]
    digest.update(json.dumps(described, sort_keys=True).encode())
    _add_arrays(digest, model.state)
    return digest.hexdigest()[:32]


def _add_arrays(digest: Any, state: nnx.State) -> None:
    for path, leaf in jax.tree.leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())


def _images_digest(images: np.ndarray) -> str:
    """Return the first 32 hexadecimal digits of SHA-256 over the values, row by row."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()[:32]


def _cpu() -> jax.Device:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        raise UserError(
            "images are compressed on the CPU, which JAX_PLATFORMS leaves out; add it at the end, "
            "as in JAX_PLATFORMS=cuda,cpu"
        ) from None


def _platform() -> str:
    """Name what the last bits of the probabilities depend on: versions, processor, threads."""
    names = ("jax", "jaxlib", "constriction")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    # XLA has one thread per core that the process may use.
    has_affinity = hasattr(os, "sched_getaffinity")
    num_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    return f"{', '.join(versions)}, {_processor()}, {num_cores} cores"


def _processor() -> str:
    """Name the architecture and its widest vector instructions, which XLA uses."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        words = set()
    widest = [name for name in ("avx512f", "avx2", "avx", "asimd") if name in words]
    return " ".join([platform.machine(), *widest[:1]])


def _elsewhere(compressed: CompressedImages) -> str:
    return (
        "the images do not come back as they were; they were compressed under "
        f"{compressed.platform}, and this is {_platform()}: other versions, or another processor, "
        "give the networks other last bits; decompress them where they were compressed"
    )
