"""The factors of drawn faces, and the faces of the data set: which value each factor has.

The factors are independent. So what changes along the direction of one of them, such as sunglasses,
is that factor and nothing that comes with it.

`vae_jax.data.avatars.rendering` draws the faces; their factors and order, which need no optional
package, are here.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

# Twins are the faces of `test` in the same order: those without sunglasses wear them, the others
# wear none. A face whose sunglasses are changed should become its twin.
SIZES = {"train": 40_000, "test": 4_000, "twins": 4_000}

# Philox is a counter run through a fixed function: its bits do not depend on NumPy's version, as
# the distributions of its Generator do.
_SEED = 20


class Factor(NamedTuple):
    """A factor of variation.

    Attributes:
        values: the names of its values.
        shares: the probability of each value in per cent; () for equal ones.
    """

    values: tuple[str, ...]
    shares: tuple[int, ...] = ()


# By name. A face under a hat has no hair, and the hat has the colour of the clothes.
FACTORS = {
    "accessory": Factor(("none", "glasses", "sunglasses"), (60, 15, 25)),
    "background": Factor(("sky", "mint", "sand", "rose", "lilac", "stone")),
    "clothing": Factor(("crew_neck", "scoop_neck", "collar", "hoodie")),
    "clothing_color": Factor(
        ("black", "blue", "navy", "gray", "green", "yellow", "pink", "red"),
    ),
    "eyebrows": Factor(("angry", "default", "flat", "raised", "sad", "up_down")),
    "eyes": Factor(
        ("closed", "default", "eye_roll", "happy", "side", "squint", "surprised", "wink")
    ),
    "facial_hair": Factor(
        ("none", "light_beard", "medium_beard", "long_beard", "moustache"), (60, 10, 10, 10, 10)
    ),
    "hair_color": Factor(
        ("auburn", "black", "blonde", "golden", "brown", "pink", "platinum", "red")
    ),
    "mouth": Factor(
        (
            "big_smile",
            "concerned",
            "default",
            "eating",
            "grimace",
            "sad",
            "serious",
            "smile",
            "tongue",
            "twinkle",
        )
    ),
    "skin_color": Factor(("tanned", "yellow", "pale", "light", "brown", "dark_brown", "black")),
    "top": Factor(
        (
            "bald",
            "bob",
            "bun",
            "caesar",
            "cornrows",
            "curly",
            "dreads",
            "frizzle",
            "fro",
            "long",
            "mohawk",
            "page",
            "pixie",
            "pompadour",
            "shaggy",
            "short_curly",
            "spiky",
            "straight",
            "wild",
            "hat",
            "turban",
            "winter_hat",
            "striped_winter_hat",
            "beanie",
        )
    ),
}

# The factor that the classes of the data set name.
LABEL = "accessory"


def draw_factors(split: str) -> Int[np.ndarray, "num_examples num_factors"]:
    """Return the index of the value of each factor, in the order of `FACTORS`, for every face.

    They are the same everywhere.

    Args:
        split: a key of `SIZES`.
    """
    total = SIZES["train"] + SIZES["test"]
    first = 0 if split == "train" else SIZES["train"]
    columns = []
    for index, factor in enumerate(FACTORS.values()):
        bits = np.random.Philox(key=_SEED, counter=[0, index, 0, 0]).random_raw(total)
        # As Generator.random draws from 53 bits.
        uniform = (bits >> np.uint64(11)) * 2.0**-53
        num = len(factor.values)
        shares = np.array(factor.shares or [1] * num)
        ends = np.cumsum(shares) / shares.sum()
        columns.append(np.searchsorted(ends, uniform, side="right"))
    values = np.stack(columns, axis=1)[first : first + SIZES[split]].astype(np.int32)
    if split == "twins":
        column, names = list(FACTORS).index("accessory"), FACTORS["accessory"].values
        bare, dark = names.index("none"), names.index("sunglasses")
        values[:, column] = np.where(values[:, column] == dark, bare, dark)
    return values
