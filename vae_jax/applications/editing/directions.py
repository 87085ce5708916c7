"""The directions of attributes in a run's latent space, and edits along them."""

import dataclasses
import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vae_jax.applications.editing.attribute_vectors import (
    Contrast,
    between_classes,
    between_quarters,
)
from vae_jax.data import LazyDataset
from vae_jax.data.captions.morphology import Morphology, measure
from vae_jax.data.dataset import evenly_spaced
from vae_jax.data.factors import Factors
from vae_jax.data.pixels import as_floats
from vae_jax.errors import UserError
from vae_jax.evaluation.latent_draws import draw_latents
from vae_jax.models import latent_paths
from vae_jax.trained import TrainedModel

# Training images from which a direction is computed, at most.
_MOST_IMAGES = 20_000
# Images measured at once, in double precision.
_BATCH_SIZE = 1000


class ClassChange(NamedTuple):
    """A change to a class, from one class or from any other."""

    target: int
    source: int | None = None


class FactorChange(NamedTuple):
    """A change of a factor to one of its values, from another or from any other, by name."""

    factor: str
    target: str
    source: str | None = None


# A field of `Morphology`, or a change of class or of a factor.
Attribute = str | ClassChange | FactorChange


@dataclasses.dataclass(frozen=True)
class KnownImages:
    """Training images, their latents, classes, factors and attributes.

    Attributes:
      images: as stored.
      latents: a draw from each posterior, or the encoding where that is not a diagonal normal.
      labels: classes; None where the data have none.
      measured: thickness, slant and size, where they have been measured before.
      factors: of variation; None where the data have none.
    """

    images: np.ndarray
    latents: Float[np.ndarray, "n latents"]
    labels: Int[np.ndarray, " n"] | None
    measured: Morphology | None = None
    factors: Factors | None = None

    @functools.cached_property
    def morphology(self) -> Morphology:
        """Thickness, slant and size of the images."""
        return measure_stored(self.images) if self.measured is None else self.measured


def parse(text: str) -> Attribute:
    """Return the attribute that --attribute names.

    Raises:
      UserError: there is no such attribute.
    """
    if text in Morphology._fields:
        return text
    change = re.fullmatch(r"([^:]+):(?:([^-]+)-)?([^-]+)", text)
    if change is not None:
        factor, before, after = change.groups()
        return FactorChange(factor, after, before)
    classes = re.fullmatch(r"(?:(\d{1,9})-)?(\d{1,9})", text, re.ASCII)
    if classes is None:
        raise UserError(
            f"--attribute={text!r} must be one of {', '.join(Morphology._fields)}, a class such as "
            "7, a class and the one to make of it such as 4-9, or a factor and its values such as "
            "accessory:none-sunglasses"
        )
    source, target = classes.groups()
    return ClassChange(int(target), None if source is None else int(source))


def load_known(model: TrainedModel, train: LazyDataset) -> KnownImages:
    """Read evenly spaced training images of a run, encode and measure them.

    Images are encoded as stored: an encoder that was trained on binarised images takes grey ones.
    Latents are draws, as in training: the mean of an inactive latent hardly varies, and without its
    noise a classifier would rely on variation that the decoder ignores.
    """
    known = train.read(evenly_spaced(train.shape[0], _MOST_IMAGES))
    key = model.keys.editing
    latents = draw_latents(model, known.images, key)
    return KnownImages(known.images, latents, known.labels, factors=known.factors)


def measure_stored(images: np.ndarray) -> Morphology:
    """Return thickness, slant and size of stored images."""
    parts = [
        measure(as_floats(images[first : first + _BATCH_SIZE]))
        for first in range(0, len(images), _BATCH_SIZE)
    ]
    return Morphology(*map(np.concatenate, zip(*parts, strict=True)))


def contrast(known: KnownImages, attribute: Attribute, *, balanced: bool = True) -> Contrast:
    """Return the two groups of training images that define an attribute.

    Args:
      known: the images.
      attribute: as parsed.
      balanced: make classes and the other attributes equal; for measured attributes only.

    Raises:
      UserError: the images do not differ in the attribute, or have no such classes or factors.
    """
    if isinstance(attribute, FactorChange):
        return _between_values(known, attribute)
    if isinstance(attribute, ClassChange):
        if known.labels is None:
            raise UserError(
                f"the run's data have no classes, and --attribute={attribute.target} is one; use "
                f"one of {', '.join(Morphology._fields)}"
            )
        return between_classes(known.latents, known.labels, *attribute)
    measured = known.morphology._asdict()
    values = measured.pop(attribute)
    labels, others = np.zeros(len(values), np.int32), np.empty((len(values), 0))
    if balanced:
        labels = labels if known.labels is None else known.labels
        others = np.column_stack(list(measured.values()))
    try:
        return between_quarters(known.latents, values, others, labels)
    except UserError as error:
        raise UserError(f"--attribute={attribute!r}: {error}") from None


def _between_values(known: KnownImages, change: FactorChange) -> Contrast:
    if known.factors is None:
        raise UserError(
            f"the run's data have no factors, and --attribute={change.factor}:{change.target} is "
            "a value of one; use data with factors, such as avatars"
        )
    values = known.factors.column(change.factor)
    target, source = known.factors.value(change.factor, change.target), None
    if change.source is not None:
        source = known.factors.value(change.factor, change.source)
    return between_classes(known.latents, values, target, source)


def edits(
    model: TrainedModel, latents: np.ndarray, shift: np.ndarray, degrees: np.ndarray
) -> Iterator[np.ndarray]:
    """Return the images of the latents moved by a vector, or one each, for each degree."""
    paths = latent_paths.linear_interpolation(
        latents, latents + shift.astype(np.float32), np.asarray(degrees, np.float32)
    )
    return (model.decode(moved) for moved in paths)
