"""Attributes of images, which captions mention beside the class: measured from pixels, or known.

A measured attribute has three values: low, middle and high. The thresholds between them are
constants, the same for training, validation, test and generated images. Unless another reason is
given, they are the 30th and 70th percentile of the training set, so that low and high are plain to
see and frequent enough to be learned.

Those of drawn faces are factors of the data set.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from vae_jax.data.avatars.faces import FACTORS, LABEL
from vae_jax.data.captions import morphology
from vae_jax.data.dataset import Dataset
from vae_jax.data.factors import Factors

# Images that fit into the cache of a core while their pixels are summed.
_IMAGES_AT_ONCE = 250


class Attribute(NamedTuple):
    """One attribute.

    Attributes:
        name: a word.
        values: a word for each value; for low, middle and high of a measured attribute.
        low: threshold by class, below which a measured value is low.
        high: threshold by class, above which it is high.
    """

    name: str
    values: tuple[str, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class Subject(NamedTuple):
    """The subject of a data set's images.

    Attributes:
        classes: the names of the classes.
        attributes: the attributes that captions mention.
        measure: images, [num, height, width] from 0 to 1 -> [num, attributes]; NaN for an empty
            image. None where the attributes are factors of the data set.
    """

    classes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    measure: (
        Callable[[Float[np.ndarray, "num height width"]], Float[np.ndarray, "num attributes"]]
        | None
    )


def values_of(subject: Subject, dataset: Dataset) -> Int[np.ndarray, "num attributes"]:
    """Return the attribute values of a data set with classes; -1 where there is none to see."""
    if subject.measure is None:
        assert dataset.factors is not None, "the set whose captions these are has factors"
        return _visible(dataset.factors)
    assert dataset.labels is not None, "sets that have captions have classes"
    return measure_values(subject, dataset.images, dataset.labels)


def measure_values(
    subject: Subject,
    images: UInt8[np.ndarray, "num height width channels"]
    | Float[np.ndarray, "num height width channels"],
    labels: Int[np.ndarray, " num"],
) -> Int[np.ndarray, "num attributes"]:
    """Return each image's attribute values: 0 low, 1 middle, 2 high, -1 if it is empty.

    Args:
        subject: what the images show; one with measured attributes.
        images: of 8 bits, or from 0 (ground) to 1.
        labels: the classes whose thresholds are used; for generated images, the classes that they
            should have.
    """
    assert subject.measure is not None, "the attributes are measured"
    low, high = (
        np.array([getattr(attribute, end) for attribute in subject.attributes]).T[labels]
        for end in ("low", "high")
    )
    values = np.empty(low.shape, np.int32)
    for first in range(0, len(images), _IMAGES_AT_ONCE):
        part = slice(first, first + _IMAGES_AT_ONCE)
        scale = 255 if images.dtype == np.uint8 else 1
        measured = subject.measure(images[part].mean(-1) / scale)
        values[part] = np.where(
            np.isnan(measured), -1, 1 - (measured < low[part]) + (measured > high[part])
        )
    return values


def _measure_digits(
    images: Float[np.ndarray, "num height width"],
) -> Float[np.ndarray, "num attributes"]:
    """Return size, thickness and slant, as `morphology` measures them."""
    measured = morphology.measure(images)
    return np.stack([measured.size, measured.thickness, measured.slant], 1)


def _measure_clothes(
    images: Float[np.ndarray, "num height width"],
) -> Float[np.ndarray, "num attributes"]:
    """Return brightness, width and height.

    Brightness is the density of `morphology`, here of grey around grey, which excludes the black
    ground without a threshold. Width and height are standard deviations, in pixels, of the position
    of grey.
    """
    mass = images.sum((1, 2))
    mass = np.where(mass < morphology.EMPTY, np.nan, mass)
    return np.stack(
        [
            morphology.density(images),
            _spread(images.sum(1), mass),
            _spread(images.sum(2), mass),
        ],
        axis=1,
    )


def _spread(
    profile: Float[np.ndarray, "num positions"], mass: Float[np.ndarray, " num"]
) -> Float[np.ndarray, " num"]:
    positions = np.arange(profile.shape[1])
    centre = profile @ positions / mass
    return np.sqrt((profile * (positions - centre[:, None]) ** 2).sum(1) / mass)


# Every digit of MNIST is scaled to a box of 20 pixels, so that size is the distance of its ink from
# its centre, which differs by class: with one threshold, ones would be small and zeros large.
_SIZE = Attribute(
    "size",
    ("small", "medium", "large"),
    low=(7.24, 5.72, 6.93, 6.94, 5.89, 6.85, 6.14, 6.57, 6.53, 5.96),
    high=(7.82, 6.11, 7.46, 7.43, 6.42, 7.40, 6.67, 7.05, 6.98, 6.40),
)
_THICKNESS = Attribute("thickness", ("thin", "medium", "thick"), (2.26,) * 10, (2.94,) * 10)
# Up to ten degrees to either side count as upright; 14 % of MNIST lean farther to the left, 41 % to
# the right.
_SLANT = Attribute("slant", ("left", "upright", "right"), (-10.0,) * 10, (10.0,) * 10)

DIGITS = Subject(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    (_SIZE, _THICKNESS, _SLANT),
    _measure_digits,
)

# Straps have less grey around them than cloth: with one threshold, every sandal would be dark.
_BRIGHTNESS = Attribute(
    "brightness",
    ("dark", "medium", "light"),
    low=(0.43, 0.47, 0.43, 0.48, 0.56, 0.28, 0.38, 0.43, 0.53, 0.56),
    high=(0.65, 0.58, 0.66, 0.65, 0.69, 0.41, 0.62, 0.54, 0.65, 0.64),
)
# A class that fills its images from side to side, or from top to bottom, has the middle value only.
_ALL = float("inf")
_WIDTH = Attribute(
    "width",
    ("narrow", "medium", "wide"),
    low=(4.54, 2.82, 5.43, 2.97, 4.95, -_ALL, 5.04, -_ALL, 6.32, -_ALL),
    high=(5.04, 3.19, 5.93, 3.72, 5.63, _ALL, 5.69, _ALL, 7.23, _ALL),
)
_HEIGHT = Attribute(
    "height",
    ("low", "medium", "tall"),
    low=(-_ALL, -_ALL, -_ALL, -_ALL, -_ALL, 2.90, -_ALL, 2.49, 5.00, 4.64),
    high=(_ALL, _ALL, _ALL, _ALL, _ALL, 5.14, _ALL, 3.12, 5.93, 6.06),
)

CLOTHES = Subject(
    (
        "t-shirt",
        "trousers",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    (_BRIGHTNESS, _WIDTH, _HEIGHT),
    _measure_clothes,
)


def _visible(factors: Factors) -> Int[np.ndarray, "num attributes"]:
    """Return the values of the attributes of drawn faces; -1 is the colour of hair that is hidden.

    The colour of a beard alone is not called that of the hair.
    """
    values = {attribute.name: factors.column(attribute.name) for attribute in FACES.attributes}
    hidden = np.isin(values["top"], [FACTORS["top"].values.index(name) for name in _WITHOUT_HAIR])
    values["hair_color"] = np.where(hidden, -1, values["hair_color"])
    return np.stack(list(values.values()), axis=1).astype(np.int32)


_WITHOUT_HAIR = ("bald", "hat", "turban", "winter_hat", "striped_winter_hat", "beanie")

FACES = Subject(
    FACTORS[LABEL].values,
    tuple(
        Attribute(name, FACTORS[name].values)
        for name in ("top", "hair_color", "facial_hair", "mouth", "background")
    ),
    None,
)
