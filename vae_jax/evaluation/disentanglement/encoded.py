"""Codes of examples that a simulator draws, each on its own or in groups that share a factor."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from vae_jax.data.simulators import Simulator
from vae_jax.evaluation.disentanglement import usable

# From images, as stored, to a row of numbers each, such as posterior means.
Encode = Callable[[np.ndarray], Float[np.ndarray, "images latents"]]

# From a key, the factor that each group shares, and the examples in a group, to their codes.
DrawGroups = Callable[
    [Key[Array, ""], Int[np.ndarray, " groups"], int],
    Float[np.ndarray, "groups group_size latents"],
]

# Images drawn and encoded at once. Every call has as many, so that one program serves all.
_NUM_IMAGES = 8000


def encode_points(
    encode: Encode, simulator: Simulator, key: Key[Array, ""], num: int
) -> tuple[Float[np.ndarray, "num latents"], Int[np.ndarray, "num factors"]]:
    """Return codes and factors of examples whose factors are independent and uniform.

    Raises:
      UserError: a code is not finite.
    """
    codes, factors = [], []
    num_images = min(num, _NUM_IMAGES)
    for call in range(-(-num // num_images)):
        sample = simulator.sample(jax.random.fold_in(key, call), num_images)
        codes.append(np.asarray(encode(sample.images)))
        factors.append(sample.factors)
    usable.require_finite(np.concatenate(codes))
    return np.concatenate(codes)[:num], np.concatenate(factors)[:num]


def encode_groups(
    encode: Encode,
    simulator: Simulator,
    key: Key[Array, ""],
    shared: Int[np.ndarray, " groups"],
    group_size: int,
) -> Float[np.ndarray, "groups group_size latents"]:
    """Return codes of groups of examples, within each of which one factor has one value.

    Args:
      encode: images to codes.
      simulator: draws the images.
      key: of the draws.
      shared: which factor each group shares.
      group_size: examples in a group.

    Raises:
      UserError: a code is not finite.
    """
    num_groups = min(len(shared), max(1, _NUM_IMAGES // group_size))
    codes = []
    for call, first in enumerate(range(0, len(shared), num_groups)):
        # The last call is filled up with groups that are not kept.
        chosen = np.resize(shared[first : first + num_groups], num_groups)
        call_key = jax.random.fold_in(key, call)
        images = simulator.sample_sharing(call_key, chosen, group_size).images
        codes.append(np.asarray(encode(images)).reshape(num_groups, group_size, -1))
    usable.require_finite(np.concatenate(codes))
    return np.concatenate(codes)[: len(shared)]


def choose_groups(
    codes: Float[np.ndarray, "points latents"],
    factors: Int[np.ndarray, "points factors"],
    key: Key[Array, ""],
    shared: Int[np.ndarray, " groups"],
    group_size: int,
) -> Float[np.ndarray, "groups group_size latents"]:
    """Groups of points that are there, with replacement, within each of which a factor has a value.

    As good as new images if there are many points of each value, and nothing is encoded.

    Args:
      codes: of the points.
      factors: of the points, drawn independently.
      key: of the choice.
      shared: which factor each group shares; its value is that of a point chosen at random.
      group_size: points in a group.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    groups = np.empty((len(shared), group_size), np.int64)
    for factor in np.unique(shared):
        ordered = np.argsort(factors[:, factor], kind="stable")
        values = factors[ordered, factor]
        chosen = rng.choice(values, (np.count_nonzero(shared == factor), 1))
        first = np.searchsorted(values, chosen)
        last = np.searchsorted(values, chosen, side="right")
        places = rng.integers(first, last, (len(chosen), group_size))
        groups[shared == factor] = ordered[places]
    return codes[groups]
