"""Lossy compression: latents rounded to a grid and entropy coded.

The code of an image, the mean of q(z|x) or an autoencoder's latent vector, is rounded to multiples
of a step, and its mean image is decoded. Each latent is coded under a normal with the mean and the
deviation that it has over training images, which both sides know as they know the model. A wider
step takes fewer bits and has a larger error.
"""

import constriction
import numpy as np
from jaxtyping import Float, UInt32

Codes = Float[np.ndarray, "num latents"]

# Codes farther from the mean of the training codes, in deviations, are clipped.
_MOST_DEVIATIONS = 12
# In steps: a constant latent would have a normal of width 0.
_LEAST_DEVIATION = 1e-3


class LatentCoder:
    """An entropy coder for latents in multiples of one step.

    Attributes:
      step: width of the grid, in the latents' units.
    """

    def __init__(self, training_codes: Codes, step: float) -> None:
        """Take what sender and receiver both know.

        Args:
          training_codes: of at least two training images.
          step: above 0.

        Raises:
          ValueError: too few codes, codes that are not finite, or a wrong step.
        """
        if len(training_codes) < 2 or not np.isfinite(training_codes).all():
            raise ValueError("two training codes at least are needed, of finite numbers")
        if not 0 < step < np.inf:
            raise ValueError(f"step={step} must be above 0 and finite")
        in_steps = training_codes.astype(np.float64) / step
        self.step = step
        self._mean = in_steps.mean(axis=0)
        self._deviation = np.maximum(in_steps.std(axis=0), _LEAST_DEVIATION)
        self._last = int(np.ceil(np.abs(self._mean) + _MOST_DEVIATIONS * self._deviation).max()) + 1
        self._normal = constriction.stream.model.QuantizedGaussian(-self._last, self._last)

    def encode(self, codes: Codes) -> UInt32[np.ndarray, " words"]:
        """Return the words of the codes, which are rounded to the grid.

        Raises:
          ValueError: a code is not finite.
        """
        if not np.isfinite(codes).all():
            raise ValueError("the codes hold values that are not finite")
        in_steps = np.clip(np.rint(codes / self.step), -self._last, self._last).astype(np.int32)
        coder = constriction.stream.queue.RangeEncoder()
        coder.encode(in_steps.ravel(), self._normal, *self._parameters(len(codes)))
        return np.asarray(coder.get_compressed(), np.uint32)

    def decode(self, words: UInt32[np.ndarray, " words"], num: int) -> Codes:
        """Return the rounded codes of `num` images."""
        coder = constriction.stream.queue.RangeDecoder(words)
        in_steps = coder.decode(self._normal, *self._parameters(num))
        return (in_steps.reshape(num, -1) * self.step).astype(np.float32)

    def _parameters(self, num: int) -> tuple[np.ndarray, np.ndarray]:
        return np.tile(self._mean, num), np.tile(self._deviation, num)
