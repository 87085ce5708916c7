"""`configs/vanilla.py` with an encoder of one's own.

python -m experiments.train --config=examples/own_encoder.py --workdir=runs/own_encoder
"""

import dataclasses
import math

from flax import nnx

from configs import vanilla
from vae_jax.settings import integer


class WideEncoder(nnx.Module):
    """Images to features by one wide layer of rectifiers."""

    def __init__(self, num_pixels, width, *, rngs):
        self.num_features = width
        self.layer = nnx.Linear(num_pixels, width, rngs=rngs)

    def __call__(self, images):
        return nnx.relu(self.layer(images.reshape(*images.shape[:-3], -1)))


@dataclasses.dataclass(frozen=True)
class Wide:
    """One wide layer of rectifiers."""

    width: int = integer(512, "Units of the layer.", at_least=1)

    def build(self, image_shape, *, rngs):
        """Return the encoder with fresh parameters."""
        return WideEncoder(math.prod(image_shape), self.width, rngs=rngs)


def get_config():
    """Return `vanilla` with another encoder, and a decoder, since this encoder has no mirror."""
    config = vanilla.get_config()
    config.model.encoder = {"name": "examples.own_encoder:Wide", "width": 256}
    config.model.decoder = {"name": "mlp", "widths": (400,)}
    return config
