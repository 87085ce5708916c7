"""Lossy compression of images: their codes, entropy coded at the rate of a prior over them.

The prior gives the probabilities of each code from those before it, position by position, and a
range coder (Martin 1979) takes -log2 p(c) bits per image: first in, first out, as the prior needs
them. Both sides run one compiled program over batches of one size, so that their probabilities have
the same bits.
"""

import math
from collections.abc import Callable
from typing import Any

import constriction
import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from vae_jax.applications.compression import dependence
from vae_jax.applications.compression.compressor import brightest_level
from vae_jax.applications.compression.file_format import CompressedImages
from vae_jax.data import image_arrays
from vae_jax.errors import UserError
from vae_jax.models.code_prior import CodePrior
from vae_jax.networks.precision import full_precision
from vae_jax.trained import TrainedModel

_BATCH_SIZE = 256

_CATEGORICAL = constriction.stream.model.Categorical(perfect=False)


class CodeCompressor:
    """A lossy code for images, from a model with codes and a prior over them.

    Images are uint8, or bool where the model sees zeros and ones, as `Compressor` takes them. They
    come back as the mean images of their codes, uint8 from 0 to 255.

    The networks run on the CPU (see `Compressor`).

    Attributes:
      image_shape: height, width, channels.
      code_shape: rows and columns of an image's codes.
      batch_size: images that the networks see at once.
      digest: of the network and its parameters.
      initial_bytes: bytes that the coder begins with.
    """

    initial_bytes = 0

    def __init__(self, model: TrainedModel) -> None:
        """Take the model's encoder, decoder and prior.

        Raises:
          UserError: it has no codes or no prior over them, or JAX has no CPU backend.
        """
        _refuse_uncodable(model)
        self.image_shape = model.image_shape
        self.code_shape = model.code_shape
        self.batch_size = _BATCH_SIZE
        self.digest = dependence.model_digest(model)
        self._num_level_bits = 1 if model.binarizes else 8
        # Arguments on the CPU make a program that runs there.
        self._params = jax.device_put(model.state, dependence.cpu())

        def merged(params: nnx.State) -> CodePrior:
            built: CodePrior = nnx.merge(model.graphdef, params)
            return built

        @full_precision
        def codes(params: nnx.State, images: Array) -> Array:
            return merged(params).codes(images)

        @full_precision
        def decode(params: nnx.State, codes: Array) -> Array:
            built = merged(params)
            return built.decode(built.embed(codes)).mean

        @full_precision
        def next_probabilities(
            params: nnx.State, pasts: Any, before: Array, position: Array
        ) -> tuple[Any, Array]:
            pasts, logits = merged(params).network.next_logits(pasts, before, position)
            return pasts, jax.nn.softmax(logits)

        def begin() -> Any:
            make = lambda params: merged(params).network.begin((self.batch_size,))  # noqa: E731
            shapes = jax.eval_shape(make, self._params)
            return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)

        self._codes, self._decode = jax.jit(codes), jax.jit(decode)
        self._next_probabilities, self._begin = jax.jit(next_probabilities), begin

    def compress(self, images: np.ndarray) -> CompressedImages:
        """Compress images, at least one.

        Raises:
          UserError: the model does not take images of this shape or these values.
        """
        channelled = image_arrays.with_channels(images, self.image_shape)
        brightest = brightest_level(images, self._num_level_bits)
        codes = self._in_batches(self._codes, channelled.astype(np.float32) / brightest)
        return CompressedImages(
            model=self.digest,
            images=dependence.images_digest(codes),
            shape=images.shape,
            dtype="uint8",
            brightest=255,
            platform=dependence.platform_name(),
            words=self._encode(codes.reshape(len(codes), -1)),
            lossy=True,
        )

    def decompress(self, compressed: CompressedImages) -> np.ndarray:
        """Return the mean images of the codes.

        Raises:
          UserError: the images were compressed with another model, or where the networks' outputs
            have other bits.
        """
        dependence.refuse_other_model(compressed, self.digest)
        codes = self.codes(compressed)
        means = self._in_batches(self._decode, codes)
        return np.rint(np.clip(means, 0, 1) * 255).astype(np.uint8).reshape(compressed.shape)

    def codes(self, compressed: CompressedImages) -> Int[np.ndarray, "num rows columns"]:
        """Return the codes, exactly as they were compressed.

        Raises:
          UserError: they were compressed where the networks' outputs have other bits.
        """
        num = compressed.shape[0]
        coder = constriction.stream.queue.RangeDecoder(compressed.words)
        codes = np.zeros((num, math.prod(self.code_shape)), np.int32)

        def decode(rows: slice, position: int, probabilities: np.ndarray) -> np.ndarray:
            codes[rows, position] = coder.decode(_CATEGORICAL, probabilities)
            return codes[rows, position]

        try:
            self._position_by_position(num, decode)
        except (AssertionError, ValueError) as error:
            raise UserError(dependence.elsewhere(compressed)) from error
        grids = codes.reshape(num, *self.code_shape)
        if dependence.images_digest(grids) != compressed.images:
            raise UserError(dependence.elsewhere(compressed))
        return grids

    def _encode(self, codes: Int[np.ndarray, "num positions"]) -> np.ndarray:
        coder = constriction.stream.queue.RangeEncoder()

        def encode(rows: slice, position: int, probabilities: np.ndarray) -> np.ndarray:
            symbols = codes[rows, position].copy()
            coder.encode(symbols, _CATEGORICAL, probabilities)
            return symbols

        self._position_by_position(len(codes), encode)
        return np.asarray(coder.get_compressed(), np.uint32)

    def _position_by_position(
        self, num: int, transfer: Callable[[slice, int, np.ndarray], np.ndarray]
    ) -> None:
        """Transfer the codes of all images, a position of a batch after the other.

        Args:
          num: number of images.
          transfer: encodes or decodes the codes of some images at a position, given their
            probabilities `[images, num_codes]`, and returns them.

        Raises:
          UserError: a probability is not finite.
        """
        for first in range(0, num, self.batch_size):
            rows = slice(first, min(first + self.batch_size, num))
            pasts, before = self._begin(), np.zeros(self.batch_size, np.int32)
            for position in range(math.prod(self.code_shape)):
                pasts, found = self._next_probabilities(
                    self._params, pasts, before, np.int32(position)
                )
                probabilities = np.asarray(found)[: rows.stop - first]
                if not np.isfinite(probabilities).all():
                    raise UserError("the model's prior has values that are not finite")
                before = self._padded(transfer(rows, position, probabilities))

    def _in_batches(self, function: Callable[..., Array], values: np.ndarray) -> np.ndarray:
        parts = []
        for first in range(0, len(values), self.batch_size):
            part = values[first : first + self.batch_size]
            parts.append(np.asarray(function(self._params, self._padded(part)))[: len(part)])
        return np.concatenate(parts)

    def _padded(self, values: np.ndarray) -> np.ndarray:
        missing = self.batch_size - len(values)
        return np.pad(values, [(0, missing), *[(0, 0)] * (values.ndim - 1)])


def _refuse_uncodable(model: TrainedModel) -> None:
    if model.has_codes and not model.has_density:
        raise UserError(
            f"model={model.name!r} has codes without a prior over them, and so no rate to code "
            "them at; train model='code_prior' with this workdir as model.first_stage"
        )
    if not model.has_codes:
        raise UserError(f"model={model.name!r} has no codes; it compresses without loss")
