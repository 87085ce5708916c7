"""A simulator whose images are their factors, so that their codes can be written down."""

import jax
import numpy as np

from vae_jax.data.simulators import FactorSample


class FactorImages:
    """A simulator of images that are a row of pixels, the factors' values from 0 to 255."""

    def __init__(self, sizes):
        self.sizes = tuple(sizes)
        self.names = tuple(f"factor {index}" for index in range(len(sizes)))
        self.num_drawn = 0

    def _render(self, factors):
        self.num_drawn += len(factors)
        return FactorSample(factors, factors.astype(np.uint8)[:, None, :, None])

    def _draw(self, key, num):
        bits = np.asarray(jax.random.key_data(key))
        draws = np.random.default_rng(bits).integers(0, self.sizes, (num, len(self.sizes)))
        return draws.astype(np.int32)

    def sample(self, key, num):
        return self._render(self._draw(key, num))

    def sample_sharing(self, key, shared, group_size):
        factors = self._draw(key, len(shared) * group_size).reshape(len(shared), group_size, -1)
        for group, factor in zip(factors, shared, strict=True):
            group[:, factor] = group[0, factor]
        return self._render(factors.reshape(-1, len(self.sizes)))


def standardised(factors, sizes):
    """Return factors with mean 0 and variance 1 over their values, constant ones as 0."""
    sizes = np.array(sizes)
    deviations = np.sqrt((np.square(sizes) - 1) / 12)
    return (factors - (sizes - 1) / 2) / np.where(deviations > 0, deviations, 1)
