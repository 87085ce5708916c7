"""What users give a model of images: images, codes and conditions, checked against the model."""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from vae_jax import arguments
from vae_jax.config.build import refused_values
from vae_jax.errors import UserError
from vae_jax.models.conditions import condition_of
from vae_jax.models.interfaces import Accepted
from vae_jax.settings import name_of
from vae_jax.trained.image_properties import ImageProperties

# A class, one per image, or images of which a part is seen.
Conditions = ArrayLike | int


class ImageInputs(ImageProperties):
    """A model of images that checks what its methods are given."""

    def condition_of(self, images: Any, labels: np.ndarray | None) -> np.ndarray | None:
        """Return the condition of each image of a data set; None for a model without conditions."""
        condition: np.ndarray | None = {"nothing": None, "labels": labels, "images": images}[
            self.condition_reads
        ]
        return condition

    def checked_condition(
        self, condition: Conditions | None, num: int, images: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return `num` conditions; None for a model without.

        Args:
          condition: as a user gave it: a class or classes, or images of which a part is seen.
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
            known = f"a class from 0 to {(self.num_classes or 1) - 1}, or one per image"
            raise UserError(
                "condition is missing: this model is of p(x|condition); give "
                f"{known if reads == 'labels' else 'images, of which a part is seen'}"
            )
        chosen = condition_of(self.config.model)
        if reads == "images":
            given = self._images(condition)
            return np.asarray(chosen.checked(given, num, self.image_shape))
        return np.asarray(chosen.checked(condition, num, self.image_shape))

    def refused_values(self, images: np.ndarray) -> str | None:
        """Return why the likelihood does not accept these finite images; None if it does."""
        return refused_values(self.config, self.image_shape, images)

    def _images(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        """Return images as the encoder takes them."""
        # Noise takes the images that a denoising model restores out of the unit interval.
        is_clean = name_of(self.corruption) == "none"
        accepts: Accepted = self.likelihood.accepts if is_clean else "any finite"
        return arguments.float_images(
            images, self.image_shape, accepts, may_miss=self.may_miss_pixels
        )

    def _targets(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        """Return images as the likelihood takes them."""
        targets = self._images(images)
        problem = self.refused_values(targets)
        if problem is not None:
            chosen = name_of(self.config.model.likelihood)
            raise UserError(f"images {problem}; model.likelihood={chosen!r} refuses them")
        return targets
