"""What users give a model of images: images, codes and conditions, checked against the model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from vae_jax import arguments
from vae_jax.config.build import refused_values
from vae_jax.data.condition_arrays import ConditionedShape
from vae_jax.errors import UserError
from vae_jax.models.conditions import Reads, condition_of
from vae_jax.models.interfaces import Accepted
from vae_jax.settings import name_of
from vae_jax.trained.image_properties import ImageProperties

# A class, one per image, images or rows of which a part is seen, numbers, or cells by column.
Conditions = ArrayLike | int | Mapping[str, Any]


class ImageInputs(ImageProperties):
    """A model of images that checks what its methods are given."""

    def condition_of(
        self, images: Any, labels: np.ndarray | None, conditions: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return the condition of each image of a data set; None for a model without conditions.

        Args:
          images: the images, or rows.
          labels: their classes, if they have any.
          conditions: the numbers beside them, if there are any.
        """
        found: dict[Reads, np.ndarray | None] = {
            "nothing": None,
            "labels": labels,
            "images": images,
            "conditions": conditions,
        }
        return found[self.condition_reads]

    def checked_condition(
        self, condition: Conditions | None, num: int, images: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return `num` conditions; None for a model without.

        Args:
          condition: as a user gave it: a class or classes, numbers, images or rows of which a part
            is seen, or cells by column.
          num: number of examples.
          images: the examples, which stand for a missing condition if that is a part of them.

        Raises:
          UserError: it is missing, there is no such condition, or a wrong number of them.
        """
        reads = self.condition_reads
        if condition is None and reads == "images":
            condition = images
        if condition is None and reads == "nothing":
            return None
        if condition is None:
            raise UserError(
                "condition is missing: this model is of p(x|condition); give "
                f"{self._known_conditions()}"
            )
        found: Any = condition
        # Cells by column are checked with the columns.
        if reads == "images" and not (self.given_columns and isinstance(found, Mapping)):
            if self.given_columns and np.ndim(found) == 0:
                raise UserError(f"condition={found!r} is no row; give {self._known_conditions()}")
            found = self._images(found)
        chosen = condition_of(self.config.model)
        return np.asarray(chosen.checked(found, num, self.image_shape))

    def _known_conditions(self) -> str:
        """Return in words what the model takes for a condition."""
        if self.condition_reads == "labels":
            return f"a class from 0 to {(self.num_classes or 1) - 1}, or one per image"
        if isinstance(self.image_shape, ConditionedShape):
            return f"{self.image_shape.num_features} numbers, or a row of them per image"
        if self.columns is None:
            return "images, of which a part is seen"
        names = ", ".join(self.columns.plain_columns[index].name for index in self.given_columns)
        return f"a value, or one per row, of each of {names}"

    def refused_values(self, images: np.ndarray) -> str | None:
        """Return why the likelihood does not accept these finite images; None if it does."""
        return refused_values(self.config, self.image_shape, images)

    def _images(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        """Return images as the encoder takes them."""
        # Noise takes the images that a denoising model restores out of the unit interval.
        is_clean = name_of(self.corruption) == "none"
        accepts: Accepted = self.likelihood.accepts if is_clean else "any finite"
        found = arguments.float_images(
            images, self.image_shape, accepts, may_miss=self.may_miss_pixels
        )
        if self.columns is not None and np.isinf(found).any():
            index = int(np.isinf(found).any(axis=(0, 1, 3)).argmax())
            name = self.columns.plain_columns[index].name
            raise UserError(
                f"column {name!r} holds a number that is infinite in float32; change its unit, or "
                "give NaN if it was not seen"
            )
        return found

    def _targets(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        """Return images as the likelihood takes them."""
        targets = self._images(images)
        problem = self.refused_values(targets)
        if problem is not None:
            chosen = name_of(self.config.model.likelihood)
            raise UserError(f"images {problem}; model.likelihood={chosen!r} refuses them")
        return targets
