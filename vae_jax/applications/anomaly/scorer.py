"""The scores of images by a trained model, by name."""

import functools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.applications.anomaly import baselines
from vae_jax.applications.anomaly.bounds import bound_scores, typicality
from vae_jax.applications.anomaly.distances import mahalanobis_distance
from vae_jax.applications.anomaly.likelihood_regret import likelihood_regret
from vae_jax.errors import UserError
from vae_jax.trained import TrainedModel

# Each score's name in tables.
SCORES = {
    "elbo": "-ELBO",
    "iwae_bound": "-IWAE bound",
    "distortion": "distortion",
    "reconstruction_error": "reconstruction error",
    "rate": "rate",
    "typicality": "typicality",
    "likelihood_regret": "likelihood regret",
    "mahalanobis": "Mahalanobis distance",
    "pca": "PCA reconstruction error",
    "isolation_forest": "isolation forest",
}

# They take all pixels for numbers of one kind.
_OF_IMAGES = ("pca", "isolation_forest")
_BOUNDS = ("elbo", "iwae_bound", "distortion", "rate")

Images = Float[np.ndarray, "_images height width channels"]
Scores = Float[np.ndarray, " images"]


class Scorer:
    """Scores images, higher for the more anomalous.

    What a score needs from the training images is computed on first use.
    """

    def __init__(
        self,
        model: TrainedModel,
        training_images: Images,
        key: Key[Array, ""],
        *,
        num_samples: int,
    ) -> None:
        """Take a model and images that are known to be normal.

        Args:
          model: the trained model.
          training_images: some of the model's training images, as it sees them.
          key: of the samples for them.
          num_samples: posterior samples per image.

        Raises:
          UserError: the model has no density.
        """
        if not model.has_density:
            raise UserError(
                f"model={model.name!r} has no bound on a density; detect anomalies with a run of "
                "model='vae'"
            )
        self.model = model
        self.num_samples = num_samples
        self._known = training_images
        self._key = key

    def __call__(
        self, names: Sequence[str], images: Images, key: Key[Array, ""]
    ) -> dict[str, Scores]:
        """Return the scores by name.

        Args:
          names: of `SCORES`.
          images: as the model sees them.
          key: of the samples.

        Raises:
          UserError: the model has no such score, or one is not finite.
        """
        of_images = [name for name in names if name in _OF_IMAGES]
        if of_images and self.model.columns is not None:
            raise UserError(
                f"the {SCORES[of_images[0]]} compares pixels, and this run is on a table; use "
                "another score, such as elbo"
            )
        if of_images and self.model.may_miss_pixels:
            raise UserError(
                f"the {SCORES[of_images[0]]} compares whole images, and this run has "
                "model.missing_pixels=True; use another score, such as elbo"
            )
        bounds_key, regret_key = jax.random.split(key)
        scores: dict[str, Scores] = {}
        if {*_BOUNDS, "typicality"} & set(names):
            scores = self._bounds(images, bounds_key)
        for name in names:
            if name == "typicality":
                scores[name] = typicality(scores["elbo"], self._known_scores)
            elif name == "likelihood_regret":
                scores[name] = self._likelihood_regret(images, regret_key)
            elif name == "reconstruction_error":
                scores[name] = self._squares(images)
            elif name == "mahalanobis":
                codes = self.model.latents(images)
                scores[name] = mahalanobis_distance(codes, self._known_codes)
            elif name == "pca":
                latents = self.model.latent_size
                scores[name] = baselines.pca_reconstruction_error(images, self._known, latents)
            elif name == "isolation_forest":
                seed = self.model.seed
                scores[name] = baselines.isolation_forest(images, self._known, seed)
        for name in names:
            bad = np.flatnonzero(~np.isfinite(scores[name]))
            if len(bad):
                raise UserError(
                    f"the {SCORES[name]} of {len(bad)} images is not finite, first of image "
                    f"{bad[0]}; the model may have diverged, use another score or another run"
                )
        return {name: scores[name] for name in names}

    def _squares(self, images: Images) -> Scores:
        found = self.model.reconstruct(images)
        if self.model.columns is None:
            errors = np.square(found - images)
            if not self.model.may_miss_pixels:
                return errors.mean(axis=(1, 2, 3))
        else:
            errors = self.model.squared_errors(found, images)
        # A row without a seen cell, or an image without a seen pixel, has no error.
        num = np.maximum(1, (~np.isnan(errors)).sum(axis=(1, 2, 3)))
        return (np.nansum(errors, axis=(1, 2, 3)) / num).astype(np.float32)

    def _bounds(self, images: Images, key: Key[Array, ""]) -> dict[str, Scores]:
        return bound_scores(self.model, images, key, num_samples=self.num_samples)

    def _likelihood_regret(self, images: Images, key: Key[Array, ""]) -> Scores:
        if not self.model.has_normal_posterior:
            raise UserError(
                f"the likelihood regret searches a diagonal normal, and model={self.model.name!r} "
                "with this posterior has none; use another score"
            )
        return likelihood_regret(self.model, images, key, num_samples=self.num_samples)

    @functools.cached_property
    def _known_scores(self) -> Float[np.ndarray, " known"]:
        return self._bounds(self._known, self._key)["elbo"]

    @functools.cached_property
    def _known_codes(self) -> Float[np.ndarray, "known latents"]:
        return self.model.latents(self._known)
