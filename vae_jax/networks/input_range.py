"""The range of the values that an encoder sees.

Where most pixels are bright, as in colour pictures, values from 0 to 1 have a large part in common,
beside which a dense layer hardly sees what differs. Around 0 they have not.
"""

import dataclasses
from typing import Literal, get_args

from jaxtyping import Array, Float

from vae_jax.settings import one_of

InputRange = Literal["unit", "symmetric"]


def to_input_range(
    images: Float[Array, "*shape"], input_range: InputRange
) -> Float[Array, "*shape"]:
    """Return values from [0, 1] as they are, or moved to [-1, 1]."""
    return images if input_range == "unit" else 2 * images - 1


@dataclasses.dataclass(frozen=True)
class InputRangeSettings:
    """The setting that encoders of images share."""

    input_range: InputRange = one_of(
        "unit",
        get_args(InputRange),
        "What the encoder sees of values x from 0 to 1: unit, x itself; symmetric, 2x - 1, with "
        "which colour pictures are learned much faster.",
    )
