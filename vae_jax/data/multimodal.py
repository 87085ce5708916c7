"""Examples of several modalities: what joint models are trained and measured on.

A modality is an array with a name, and its shape says what it is:

| shape | dtype | modality |
| --- | --- | --- |
| [num_examples, height, width, channels] | uint8 or float32 | images, as stored |
| [num_examples] | int32 | a class, from 0 |
| [num_examples, length] | int32 | the words of a text, as `vocabulary` encodes them |
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from vae_jax.data.factors import Factors
from vae_jax.data.vocabulary import Vocabulary


class MultimodalDataset(NamedTuple):
    """Examples, each in every modality.

    Attributes:
        modalities: by name, such as `image`, `label`, `text`, `rendering_0`; row i of each array
            belongs to example i.
        labels: [num_examples], int32; the class that the modalities of an example share, whether
            or not it is a modality. None where the source has no labels.
        attributes: what was measured of every image, whether or not its caption says it; None
            where captions are not made from measurements.
        vocabulary: of the texts; None where no modality is a text.
    """

    modalities: dict[str, np.ndarray]
    labels: Int[np.ndarray, " num_examples"] | None = None
    attributes: Factors | None = None
    vocabulary: Vocabulary | None = None

    @property
    def num_examples(self) -> int:
        """Rows of each modality."""
        return len(next(iter(self.modalities.values())))

    def read(self, indices: Int[np.ndarray, " num"]) -> "MultimodalDataset":
        """The examples at these places, in the order asked for."""
        return MultimodalDataset(
            {name: array[indices] for name, array in self.modalities.items()},
            None if self.labels is None else self.labels[indices],
            None if self.attributes is None else self.attributes.read(indices),
            self.vocabulary,
        )
