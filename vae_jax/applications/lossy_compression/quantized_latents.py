"""Lossy compression: the latents of images, rounded to a grid and entropy coded.

What is coded is the code of an image, the mean of q(z|x) or an autoencoder's latent vector, in
multiples of a step; what is decoded is the mean image there. Each latent is coded as a normal with
the mean and the deviation that it has over training images, which both sides know as they know the
model. A wider step takes fewer bits and comes less close.
"""

import constriction
import numpy as np
from jaxtyping import Float, UInt32

Codes = Float[np.ndarray, "num latents"]

# Codes so many deviations from the mean of the training codes, and a step more, are cut off.
_MOST_DEVIATIONS = 12
# A latent that does not vary would have a normal of no width; in steps.
_LEAST_DEVIATION = 1e-3


class LatentCoder:
    """A code for latents in multiples of one step.

    Attributes:
      step: width of the grid, in the latents' units.
    """

    def __init__(self, training_codes: Codes, step: float) -> None:
        """Take what both sides know.

        Args:
          training_codes: of two training images at least.
          step: above 0.

        Raises:
          ValueError: fewer codes, codes that are not finite, or another step.
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
        """Return the words of the codes, rounded to the grid.

        Raises:
          ValueError: codes that are not finite.
        """
        if not np.isfinite(codes).all():
            raise ValueError("the codes hold values that are not finite")
        in_steps = np.clip(np.rint(codes / self.step), -self._last, self._last).astype(np.int32)
        coder = constriction.stream.queue.RangeEncoder()
        coder.encode(in_steps.ravel(), self._normal, *self._parameters(len(codes)))
        return np.asarray(coder.get_compressed(), np.uint32)

    def decode(self, words: UInt32[np.ndarray, " words"], num: int) -> Codes:
        """Return the codes on the grid of `num` images."""
        coder = constriction.stream.queue.RangeDecoder(words)
        in_steps = coder.decode(self._normal, *self._parameters(num))
        return (in_steps.reshape(num, -1) * self.step).astype(np.float32)

    def _parameters(self, num: int) -> tuple[np.ndarray, np.ndarray]:
        return np.tile(self._mean, num), np.tile(self._deviation, num)
