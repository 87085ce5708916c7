"""Bits-back coding with asymmetric numeral systems (Townsend et al. 2019, arXiv 1901.04866).

To code an image x onto a stack of bits: decode latents z from the stack under q(z|x), which takes
-log q(z|x) bits off it; code x under p(x|z); code z under p(z). The stack grows by one sample of
minus the ELBO,

    log q(z|x) - log p(x|z) - log p(z),

and the inverse steps give the image and the very bits that the latents were decoded from.

Latents lie on a grid of equal steps, where posterior and prior have the mass of the bin around each
point. The paper's bins have equal mass under the prior. Either way the width of a bin cancels
between the two, and the entropy coder has a normal over equal steps built in. Levels are coded bit
by bit, the most significant first, each given those above it.

The entropy coder gives each point of a range at least a probability of 2^-24. Over the whole grid
these add up to 6e-5 a latent, by which a posterior sometimes draws from nowhere, and such an image
costs hundreds of bits. So a latent is drawn from a window of the grid around its posterior mean, by
a range of its own scale. Files of format 1 were coded without windows.

The networks see many images at once, so the latents of a whole batch are decoded before any of its
images is coded, and the stack must have the bits for that. It begins with the bits for one image,
and the first batches have as many images as it has bits for: the overhead is one image's latents,
not a batch's. The size of each batch is on the stack, too.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import constriction
import numpy as np
from jaxtyping import Float, Int, UInt32

from vae_jax.applications.compression.file_format import VERSION

# The grid of a latent: 1025 points from -8 to 8 standard deviations of the prior. A finer grid is
# not better: the entropy coder gives each bin at least 2^-24, so that draws far out cost many bits.
_STEP = 2.0**-6
_LAST = 512

# No symbol of the entropy coder takes more bits, since no probability is less than 2^-24.
_MOST_BITS = 24
_WORD_BITS = 32

Images = Int[np.ndarray, "num height width channels"]
Latents = Float[np.ndarray, "num latents"]

# (bits of the levels that are known, the others 0; which bit is next) -> probability that it is 1.
NextBit = Callable[[Images, int], Float[np.ndarray, "num height width channels"]]

_NORMAL = constriction.stream.model.QuantizedGaussian(-_LAST, _LAST)
# Windows reach out to this many standard deviations of the posterior, rounded up to a power of two.
_REACH = 8
_WINDOWS = {
    half: constriction.stream.model.QuantizedGaussian(-half, half)
    for half in (4 << power for power in range(8))
}
# Since this format latents are drawn from windows.
_WINDOWED = 2
# Uniform over 16 bits, more than a latent takes unless it is most improbable.
_MOST_PAD = 2**16 - 1
_PAD_MODEL = constriction.stream.model.Uniform(_MOST_PAD + 1)
_BIT = constriction.stream.model.Bernoulli(perfect=False)


@runtime_checkable
class CodingModel(Protocol):
    """The VAE that the coder calls. The same arguments must give the same floats, bit for bit.

    Attributes:
      image_shape: height, width, channels.
      latent_size: number of latents; their prior is standard normal.
      num_level_bits: levels of a pixel are 0 to 2^num_level_bits - 1.
      batch_size: images per call, at most.
    """

    image_shape: tuple[int, int, int]
    latent_size: int
    num_level_bits: int
    batch_size: int

    def posterior(self, images: Images, /) -> tuple[Latents, Latents]:
        """Return mean and standard deviation of the latents of each image."""

    def next_bit(self, latents: Latents, /) -> NextBit:
        """Return p(x|z) as a function that gives the probabilities bit by bit."""


def encode(
    model: CodingModel,
    images: Images,
    initial: UInt32[np.ndarray, " words"],
    version: int = VERSION,
) -> UInt32[np.ndarray, " coded_words"]:
    """Return the stack after all images.

    Args:
      model: the model.
      images: levels, at least one image.
      initial: the stack before them, at least `num_initial_words` and not empty, the last not 0.
        The words are random, since they become the first image's latents.
      version: of the file format.
    """
    stack = constriction.stream.stack.AnsCoder(initial)
    first = 0
    while first < len(images):
        affordable = stack.num_words() * _WORD_BITS // (model.latent_size * _MOST_BITS)
        size = max(1, min(model.batch_size, affordable, len(images) - first))
        _scramble(stack, size * model.latent_size, first)
        _push_images(stack, model, images[first : first + size], version)
        stack.encode_reverse(size - 1, _sizes(model))
        first += size
    return stack.get_compressed()


def decode(
    model: CodingModel,
    words: UInt32[np.ndarray, " coded_words"],
    num_images: int,
    version: int = VERSION,
) -> tuple[Images, UInt32[np.ndarray, " words"]]:
    """Return the images, and the stack before them.

    Args:
      model: the model.
      words: the stack after all images.
      num_images: number of images.
      version: of the file format.

    Raises:
      ValueError: `encode` does not make these words from any `num_images` images.
    """
    stack = constriction.stream.stack.AnsCoder(words)
    batches: list[Images] = []
    missing = num_images
    while missing > 0:
        size = stack.decode(_sizes(model)) + 1
        if size > missing:
            raise ValueError(f"a batch of {size} images, where {missing} are missing")
        batches.append(_pop_images(stack, model, size, version))
        missing -= size
        _scramble(stack, size * model.latent_size, missing)
    return np.concatenate(batches[::-1]), stack.get_compressed()


def num_initial_words(latent_size: int) -> int:
    """Return the number of words that the latents of one image take at most."""
    return -(-latent_size * _MOST_BITS // _WORD_BITS)


def _scramble(stack: constriction.stream.stack.AnsCoder, num: int, seed: int) -> None:
    """Exclusive-or the top of the stack with pseudorandom bits that depend on the seed alone.

    A second call undoes the first. The last words coded are the latents of the previous batch,
    which are not random where the prior does not fit them. Latents decoded from those bits would
    not be draws from their posterior, and the error would grow from batch to batch.
    """
    values = stack.decode(_PAD_MODEL, num)
    pad = np.random.Philox(key=seed).random_raw(num) % (_MOST_PAD + 1)
    stack.encode_reverse(values ^ pad.astype(np.int32), _PAD_MODEL)


def _sizes(model: CodingModel) -> constriction.stream.model.Uniform:
    # At least two sizes: the entropy coder has no certain symbol.
    return constriction.stream.model.Uniform(max(2, model.batch_size))


def _push_images(
    stack: constriction.stream.stack.AnsCoder, model: CodingModel, images: Images, version: int
) -> None:
    indices = _draw(stack, _on_grid(*model.posterior(images)), version)
    next_bit = model.next_bit(_latents(indices, model))
    positions = range(model.num_level_bits)
    probabilities = [next_bit(images & -(2 << position), position) for position in positions]
    # The least significant first, since the last coded is the first decoded.
    for position in positions:
        bits = (images >> position & 1).astype(np.int32)
        stack.encode_reverse(bits.ravel(), _BIT, probabilities[position].ravel())
    stack.encode_reverse(indices, _NORMAL, *_prior(indices.size))


def _pop_images(
    stack: constriction.stream.stack.AnsCoder, model: CodingModel, size: int, version: int
) -> Images:
    """Invert `_push_images` step by step."""
    indices = stack.decode(_NORMAL, *_prior(size * model.latent_size))
    next_bit = model.next_bit(_latents(indices, model))
    images = np.zeros((size, *model.image_shape), np.int32)
    for position in reversed(range(model.num_level_bits)):
        bits = stack.decode(_BIT, next_bit(images, position).ravel())
        images |= bits.reshape(images.shape) << position
    _give_back(stack, indices, _on_grid(*model.posterior(images)), version)
    return images


# Means and standard deviations in steps of the grid.
_OnGrid = tuple[np.ndarray, np.ndarray]


def _draw(
    stack: constriction.stream.stack.AnsCoder, posterior: _OnGrid, version: int
) -> Int[np.ndarray, " values"]:
    """Decode a point of the grid for each latent from the stack."""
    if version < _WINDOWED:
        return stack.decode(_NORMAL, *posterior)
    mean, scale = posterior
    half, centre = _windows(*posterior)
    indices = np.zeros(len(mean), np.int32)
    for size, window in _WINDOWS.items():
        (some,) = np.nonzero(half == size)
        offsets = mean[some] - centre[some], scale[some]
        indices[some] = centre[some] + stack.decode(window, *offsets)
    return indices


def _give_back(
    stack: constriction.stream.stack.AnsCoder,
    indices: Int[np.ndarray, " values"],
    posterior: _OnGrid,
    version: int,
) -> None:
    """Invert `_draw`.

    Raises:
      ValueError: a point is none that `_draw` gives.
    """
    if version < _WINDOWED:
        stack.encode_reverse(indices, _NORMAL, *posterior)
        return
    mean, scale = posterior
    half, centre = _windows(*posterior)
    offsets = indices - centre
    if (abs(offsets) > half).any():
        raise ValueError("a latent lies outside of the window of its posterior")
    for size, window in reversed(_WINDOWS.items()):
        (some,) = np.nonzero(half == size)
        stack.encode_reverse(offsets[some], window, mean[some] - centre[some], scale[some])


def _windows(
    mean: np.ndarray, scale: np.ndarray
) -> tuple[Int[np.ndarray, " values"], Int[np.ndarray, " values"]]:
    """Return the half width of each latent's window, and its middle, in steps of the grid."""
    sizes = np.array([*_WINDOWS], np.int32)
    fitting = np.searchsorted(sizes, _REACH * scale)
    half = sizes[np.minimum(fitting, len(sizes) - 1)]
    # A window ends where the grid does.
    return half, np.clip(np.rint(mean), half - _LAST, _LAST - half).astype(np.int32)


def _on_grid(mean: Latents, scale: Latents) -> _OnGrid:
    """Return mean and scale in steps of the grid; the mean is clipped to its ends."""
    mean, scale = mean.ravel().astype(np.float64), scale.ravel().astype(np.float64)
    return np.clip(mean / _STEP, -_LAST, _LAST), scale / _STEP


def _prior(num: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(num), np.full(num, 1 / _STEP)


def _latents(indices: Int[np.ndarray, " values"], model: CodingModel) -> Latents:
    return (indices * _STEP).astype(np.float32).reshape(-1, model.latent_size)
