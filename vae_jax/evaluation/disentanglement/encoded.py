"""Codes of examples that a simulator draws, independently or in groups that share a factor."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from vae_jax.data.simulators import Simulator
from vae_jax.evaluation.disentanglement import usable

# From images as stored to one code per image, such as its posterior mean.
Encode = Callable[[np.ndarray], Float[np.ndarray, "images latents"]]

# From a key, the factor that each group shares, and the examples in a group, to their codes.
DrawGroups = Callable[
    [Key[Array, ""], Int[np.ndarray, " groups"], int],
    Float[np.ndarray, "groups group_size latents"],
]

# Images drawn and encoded per call; the number is constant, so that one program serves all calls.
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
    """Return codes of groups of examples; within a group one factor has one value.

    Args:
      encode: images to codes.
      simulator: draws the images.
      key: of the draws.
      shared: which factor each group shares.
      group_size: examples per group.

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
    """Draw groups of given points with replacement; within a group one factor has one value.

    Nothing is encoded. With many points per value they serve as well as groups of new images.

    Args:
      codes: of the points.
      factors: of the points, drawn independently.
      key: of the choice.
      shared: which factor each group shares; its value is that of a point chosen at random.
      group_size: points per group.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    groups = np.empty((len(shared), group_size), np.int64)
    for factor in np.unique(shared):
        ordered = np.argsort(factors[:, factor], kind="stable")
        values = factors[ordered, factor]
        chosen = rng.choice(values, (np.count_nonzero(shared == factor), 1))
        first = np.searchsorted(values, chosen)
        last = np.searchsorted(values, chosen, side="right")
        positions = rng.integers(first, last, (len(chosen), group_size))
        groups[shared == factor] = ordered[positions]
    return codes[groups]
