"""Bits-back coding with asymmetric numeral systems (Townsend et al. 2019, arXiv 1901.04866).

To code an image x onto a stack of bits: decode latents z from the stack under q(z|x), which takes
-log q(z|x) bits off it; code x under p(x|z); code z under p(z). The stack grows by one sample of
minus the ELBO,

    log q(z|x) - log p(x|z) - log p(z),

and going back step by step gives the image and the very bits that the latents were decoded from.

Latents lie on a grid of equal steps, on which posterior and prior have the mass of the bin around
each point. The paper's bins have equal mass under the prior; either way the width of a bin cancels
between the two, and a normal over equal steps is what the entropy coder knows by itself. Levels are
coded bit by bit, the most significant first, each given those above it.

The networks see many images at once, so the latents of a whole batch are decoded before any of its
images is coded, and the stack must have the bits for that. It begins with what one image may take,
and the first batches have as many images as it has bits for: what cannot be got back is one image's
latents, not a batch's. How many images a batch has is itself on the stack.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import constriction
import numpy as np
from jaxtyping import Float, Int, UInt32

# Of a latent: from -8 to 8 standard deviations of the prior, in 1025 steps. Finer is not better:
# the entropy coder gives each bin 2^-24 at least, and what is drawn far out so costs many bits.
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
# Uniform over 16 bits, more than a latent takes unless it is most improbable.
_MOST_PAD = 2**16 - 1
_PAD_MODEL = constriction.stream.model.Uniform(_MOST_PAD + 1)
_BIT = constriction.stream.model.Bernoulli(perfect=False)


@runtime_checkable
class CodingModel(Protocol):
    """A VAE as the coder asks it. The same question must give the same floats, bit for bit.

    Attributes:
      image_shape: height, width, channels.
      latent_size: of the latents, whose prior is standard normal.
      num_level_bits: levels of a pixel are 0 to 2^num_level_bits - 1.
      batch_size: images that it is asked about at once, at most.
    """

    image_shape: tuple[int, int, int]
    latent_size: int
    num_level_bits: int
    batch_size: int

    def posterior(self, images: Images, /) -> tuple[Latents, Latents]:
        """Return mean and standard deviation of the latents of each image."""

    def next_bit(self, latents: Latents, /) -> NextBit:
        """Return p(x|z) as the probability of one bit after the other."""


def encode(
    model: CodingModel, images: Images, initial: UInt32[np.ndarray, " words"]
) -> UInt32[np.ndarray, " coded_words"]:
    """Return the stack after all images.

    Args:
      model: the model.
      images: levels, at least one image.
      initial: the stack before them, at least `num_initial_words`; random words, for they become
        the first image's latents. Not empty, and the last not 0.
    """
    stack = constriction.stream.stack.AnsCoder(initial)
    first = 0
    while first < len(images):
        affordable = stack.num_words() * _WORD_BITS // (model.latent_size * _MOST_BITS)
        size = max(1, min(model.batch_size, affordable, len(images) - first))
        _scramble(stack, size * model.latent_size, first)
        _push_images(stack, model, images[first : first + size])
        stack.encode_reverse(size - 1, _sizes(model))
        first += size
    return stack.get_compressed()


def decode(
    model: CodingModel, words: UInt32[np.ndarray, " coded_words"], num_images: int
) -> tuple[Images, UInt32[np.ndarray, " words"]]:
    """Return the images, and what the stack held before them.

    Raises:
      ValueError: the words are not what `encode` makes of so many images.
    """
    stack = constriction.stream.stack.AnsCoder(words)
    batches: list[Images] = []
    missing = num_images
    while missing > 0:
        size = stack.decode(_sizes(model)) + 1
        if size > missing:
            raise ValueError(f"a batch of {size} images, where {missing} are missing")
        batches.append(_pop_images(stack, model, size))
        missing -= size
        _scramble(stack, size * model.latent_size, missing)
    return np.concatenate(batches[::-1]), stack.get_compressed()


def num_initial_words(latent_size: int) -> int:
    """Return words that the latents of one image take at most."""
    return -(-latent_size * _MOST_BITS // _WORD_BITS)


def _scramble(stack: constriction.stream.stack.AnsCoder, num: int, seed: int) -> None:
    """Add random bits, the same ones at every call, modulo 2 to the top of the stack.

    Twice is not at all. What was coded last are the latents of the batch before, which are not
    random where the prior does not fit them. Latents decoded from those bits would not be draws
    from their posterior, and their faults would grow from batch to batch.
    """
    values = stack.decode(_PAD_MODEL, num)
    pad = np.random.Philox(key=seed).random_raw(num) % (_MOST_PAD + 1)
    stack.encode_reverse(values ^ pad.astype(np.int32), _PAD_MODEL)


def _sizes(model: CodingModel) -> constriction.stream.model.Uniform:
    # Of two at least, for the entropy coder knows no certain symbol.
    return constriction.stream.model.Uniform(max(2, model.batch_size))


def _push_images(
    stack: constriction.stream.stack.AnsCoder, model: CodingModel, images: Images
) -> None:
    indices = stack.decode(_NORMAL, *_on_grid(*model.posterior(images)))
    next_bit = model.next_bit(_latents(indices, model))
    places = range(model.num_level_bits)
    probabilities = [next_bit(images & -(2 << place), place) for place in places]
    # The least significant first, for what is coded last comes back first.
    for place in places:
        bits = (images >> place & 1).astype(np.int32)
        stack.encode_reverse(bits.ravel(), _BIT, probabilities[place].ravel())
    stack.encode_reverse(indices, _NORMAL, *_prior(indices.size))


def _pop_images(stack: constriction.stream.stack.AnsCoder, model: CodingModel, size: int) -> Images:
    """Return the inverse of `_push_images`, step by step."""
    indices = stack.decode(_NORMAL, *_prior(size * model.latent_size))
    next_bit = model.next_bit(_latents(indices, model))
    images = np.zeros((size, *model.image_shape), np.int32)
    for place in reversed(range(model.num_level_bits)):
        bits = stack.decode(_BIT, next_bit(images, place).ravel())
        images |= bits.reshape(images.shape) << place
    stack.encode_reverse(indices, _NORMAL, *_on_grid(*model.posterior(images)))
    return images


def _on_grid(mean: Latents, scale: Latents) -> tuple[np.ndarray, np.ndarray]:
    """Return a posterior in steps of the grid, its tails added to the last points."""
    mean, scale = mean.ravel().astype(np.float64), scale.ravel().astype(np.float64)
    return np.clip(mean / _STEP, -_LAST, _LAST), scale / _STEP


def _prior(num: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(num), np.full(num, 1 / _STEP)


def _latents(indices: Int[np.ndarray, " values"], model: CodingModel) -> Latents:
    return (indices * _STEP).astype(np.float32).reshape(-1, model.latent_size)
