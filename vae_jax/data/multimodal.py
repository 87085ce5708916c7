"""Examples of several modalities, for joint models.

A modality is an array with a name; its shape and type define its kind:

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
from vae_jax.data.captions.attributes import values_of
from vae_jax.data.captions.grammars import find_grammar
from vae_jax.data.captions.vocabulary import Vocabulary
from vae_jax.data.dataset import Dataset
from vae_jax.data.factors import Factors
from vae_jax.errors import UserError

# Modalities that `build` can make. The index seeds a modality's draws, so that they differ.
MODALITIES = ("image", "label", "text", *renderings.NAMES)

# Key, beside those of the modalities, of the mask of modalities that each training example has.
PRESENT = "present"

# Parts of the data. The index seeds a part's draws, so that they differ.
_PARTS = ("train", "validation", "test")


class MultimodalDataset(NamedTuple):
    """Examples with every modality.

    Attributes:
        modalities: by name, such as `image`, `label`, `text`, `rendering_0`; row i of each array
            belongs to example i.
        labels: [num_examples], int32; the class that the modalities of an example share, also where
            it is not a modality. None where the source has no labels.
        attributes: of every image (see `attributes.values_of`), also where the caption does not
            mention them; None where captions are not made from attributes.
        vocabulary: of the texts; None where no modality is a text.
        present: [num_examples, modalities]; mask of the modalities that each example has. None
            means all.
    """

    modalities: dict[str, np.ndarray]
    labels: Int[np.ndarray, " num_examples"] | None = None
    attributes: Factors | None = None
    vocabulary: Vocabulary | None = None
    present: Bool[np.ndarray, "num_examples modalities"] | None = None

    @property
    def num_examples(self) -> int:
        """The number of examples."""
        return len(next(iter(self.modalities.values())))

    def read(self, indices: Int[np.ndarray, " num"]) -> "MultimodalDataset":
        """Return the examples at these indices, in their order."""
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
        vocabulary: that they are encoded with.
        attributes: of every example; None for a user's own captions.
    """

    ids: Int[np.ndarray, "num_examples length"]
    vocabulary: Vocabulary
    attributes: Factors | None = None


def write_texts(dataset: Dataset, name: str, *, part: str, seed: int) -> Texts:
    """Return captions of images, encoded with the vocabulary and row length of their grammar.

    Args:
        dataset: images with labels.
        name: of the data set (see `find_grammar`).
        part: `train`, `validation` or `test`; each has draws of its own.
        seed: of the wordings.

    Raises:
        UserError: the data set has no grammar.
    """
    grammar = find_grammar(name)
    assert dataset.labels is not None, "sets that have a grammar have labels"
    values = values_of(grammar.subject, dataset)
    written = captions.write(grammar, dataset.labels, values, _random(seed, part, "text"))
    vocabulary = captions.vocabulary(grammar)
    encoded = vocabulary.encode(written, captions.row_length(grammar), "refuse")
    attributes = grammar.subject.attributes
    names = tuple(attribute.name for attribute in attributes)
    sizes = tuple(len(attribute.values) for attribute in attributes)
    return Texts(encoded.ids, vocabulary, Factors(names, sizes, values))


def build(
    dataset: Dataset,
    modalities: Sequence[str],
    *,
    part: str,
    seed: int,
    texts: Texts | None = None,
) -> MultimodalDataset:
    """Return the examples of a data set with their modalities.

    Args:
        dataset: images, and labels where a modality needs them.
        modalities: names in `MODALITIES`, in the order to return.
        part: `train`, `validation` or `test`; each has draws of its own.
        seed: of the renderings.
        texts: for the modality `text`; from `write_texts`, or a user's own.

    Raises:
        UserError: no modality, an unknown one, or one twice; missing labels; images that cannot be
            rendered; a number of texts other than that of the images.
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
    """Draw a mask of the modalities of `num` examples; each example has at least one.

    Args:
        num: number of examples.
        shares: the probability of each modality, above 0, before examples without any are drawn
            again.
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
        UserError: there is no modality, an unknown one, or one twice.
    """
    unknown = [name for name in modalities if name not in MODALITIES]
    if unknown or not modalities or len(set(modalities)) < len(modalities):
        what = f"{unknown[0]!r} is not known" if unknown else "each must be there once"
        raise UserError(
            f"data.modalities={tuple(modalities)}: {what}; name some of {', '.join(MODALITIES)}"
        )


def _random(seed: int, part: str, modality: str) -> np.random.RandomState:
    return np.random.RandomState([seed, _PARTS.index(part), MODALITIES.index(modality)])
