"""Examples of several modalities: what joint models are trained and measured on.

A modality is an array with a name, and its shape says what it is:

| shape | dtype | modality |
| --- | --- | --- |
| [num_examples, height, width, channels] | uint8 or float32 | images, as stored |
| [num_examples] | int32 | a class, from 0 |
| [num_examples, length] | int32 | the words of a text, as `vocabulary` encodes them |
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from vae_jax.data import renderings
from vae_jax.data.captions import grammar as captions
from vae_jax.data.captions.attributes import measure_values
from vae_jax.data.captions.vocabulary import Vocabulary
from vae_jax.data.dataset import Dataset
from vae_jax.data.factors import Factors
from vae_jax.errors import UserError

# What `build` can make. The place here tells the draws of a modality from those of others.
MODALITIES = ("image", "label", "text", *renderings.NAMES)

# Beside the modalities of examples in training: which of them each example has.
PRESENT = "present"

# The place here of a part of the data tells its draws from the others'.
_PARTS = ("train", "validation", "test")


class MultimodalDataset(NamedTuple):
    """Examples, each in every modality.

    Attributes:
        modalities: by name, such as `image`, `label`, `text`, `rendering_0`; row i of each array
            belongs to example i.
        labels: [num_examples], int32; the class that the modalities of an example share, whether
            or not it is a modality. None where the source has no labels.
        attributes: what was measured of every image (see `attributes.measure_values`), whether or
            not its caption says it; None where captions are not made from measurements.
        vocabulary: of the texts; None where no modality is a text.
        present: [num_examples, modalities]; which modalities each example has. None is all.
    """

    modalities: dict[str, np.ndarray]
    labels: Int[np.ndarray, " num_examples"] | None = None
    attributes: Factors | None = None
    vocabulary: Vocabulary | None = None
    present: Bool[np.ndarray, "num_examples modalities"] | None = None

    @property
    def num_examples(self) -> int:
        """Rows of each modality."""
        return len(next(iter(self.modalities.values())))

    def read(self, indices: Int[np.ndarray, " num"]) -> "MultimodalDataset":
        """Return the examples at these places, in the order asked for."""
        return MultimodalDataset(
            {name: array[indices] for name, array in self.modalities.items()},
            None if self.labels is None else self.labels[indices],
            None if self.attributes is None else self.attributes.read(indices),
            self.vocabulary,
            None if self.present is None else self.present[indices],
        )


class Texts(NamedTuple):
    """The captions of a part of the data.

    Attributes:
        ids: [num_examples, length], int32; see `vocabulary`.
        vocabulary: in which they are encoded.
        attributes: of every example; None for a user's own captions.
    """

    ids: Int[np.ndarray, "num_examples length"]
    vocabulary: Vocabulary
    attributes: Factors | None = None


def write_texts(dataset: Dataset, name: str, *, part: str, seed: int) -> Texts:
    """Return captions of images, with the vocabulary and the row length of their grammar.

    Args:
        dataset: images with labels.
        name: of the data set (see `captions.find_grammar`).
        part: `train`, `validation` or `test`, which differ in what is drawn.
        seed: of the wordings.

    Raises:
        UserError: captions of this data set are not known.
    """
    grammar = captions.find_grammar(name)
    assert dataset.labels is not None, "sets that have a grammar have labels"
    values = measure_values(grammar.subject, dataset.images, dataset.labels)
    written = captions.write(grammar, dataset.labels, values, _random(seed, part, "text"))
    vocabulary = captions.vocabulary(grammar)
    encoded = vocabulary.encode(written, captions.row_length(grammar), "refuse")
    names = tuple(attribute.name for attribute in grammar.subject.attributes)
    return Texts(encoded.ids, vocabulary, Factors(names, (3,) * len(names), values))


def build(
    dataset: Dataset,
    modalities: Sequence[str],
    *,
    part: str,
    seed: int,
    texts: Texts | None = None,
) -> MultimodalDataset:
    """Return the modalities of the examples of a data set.

    Args:
        dataset: images, and labels where a modality needs them.
        modalities: of `MODALITIES`, in the order in which they shall be.
        part: `train`, `validation` or `test`, which differ in what is drawn.
        seed: of the renderings.
        texts: for the modality `text`: from `write_texts`, or a user's own.

    Raises:
        UserError: no modality, an unknown one or one twice; no labels where they are needed;
            images of another form than renderings are drawn from; another number of texts than of
            images.
    """
    check_names(modalities)
    images, labels = dataset.images, dataset.labels
    arrays = {}
    for name in modalities:
        if name == "image":
            arrays[name] = images
        elif name == "text":
            assert texts is not None, "the modality is asked for"
            if len(texts.ids) != len(images):
                raise UserError(
                    f"there are {len(texts.ids)} captions for {len(images)} images; give one for "
                    "each image"
                )
            arrays[name] = texts.ids
        elif labels is None:
            raise UserError(
                f"data.modalities={tuple(modalities)}: {name!r} needs labels, and the data have "
                "none; use data with labels, or leave it out"
            )
        elif name == "label":
            arrays[name] = labels
        elif images.dtype != np.uint8 or not _can_be_rendered(*images.shape[1:]):
            raise UserError(
                f"data.modalities={tuple(modalities)}: {name!r} is drawn from square grey images "
                f"of 8 bits and at most {renderings.LARGEST} pixels, and these are {images.dtype}, "
                f"{list(images.shape[1:])}; leave it out"
            )
        else:
            index, random = renderings.NAMES.index(name), _random(seed, part, name)
            arrays[name] = renderings.render(images, labels, index, random)
    if texts is None:
        return MultimodalDataset(arrays, labels)
    return MultimodalDataset(arrays, labels, texts.attributes, texts.vocabulary)


def draw_present(num: int, shares: Sequence[float], seed: int) -> Bool[np.ndarray, "num parts"]:
    """Return a mask of the modalities of `num` examples, each with at least one, by rejection.

    Args:
        num: examples.
        shares: the probability of each modality, above 0; higher after those drawn again.
        seed: of the draws.
    """
    random = np.random.RandomState([seed, len(_PARTS)])
    present = np.zeros((num, len(shares)), bool)
    while (without := ~present.any(axis=1)).any():
        present[without] = random.random_sample((without.sum(), len(shares))) < shares
    return present


def _can_be_rendered(height: int, width: int, num_channels: int) -> bool:
    return height == width <= renderings.LARGEST and num_channels == 1


def check_names(modalities: Sequence[str]) -> None:
    """Refuse modalities that `build` cannot make.

    Raises:
        UserError: there is none, an unknown one, or one twice.
    """
    unknown = [name for name in modalities if name not in MODALITIES]
    if unknown or not modalities or len(set(modalities)) < len(modalities):
        what = f"{unknown[0]!r} is not known" if unknown else "each must be there once"
        raise UserError(
            f"data.modalities={tuple(modalities)}: {what}; name some of {', '.join(MODALITIES)}"
        )


def _random(seed: int, part: str, modality: str) -> np.random.RandomState:
    return np.random.RandomState([seed, _PARTS.index(part), MODALITIES.index(modality)])
