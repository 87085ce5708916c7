"""All measures of generated images against one set of real ones."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vae_jax.applications.generation.class_coverage import class_coverage
from vae_jax.applications.generation.density_coverage import density_coverage
from vae_jax.applications.generation.frechet import frechet_distance
from vae_jax.applications.generation.memorisation import memorisation
from vae_jax.applications.generation.nearest import squared_radii
from vae_jax.applications.generation.precision_recall import precision_recall
from vae_jax.evaluation.classifier import Classifier

# What the papers recommend.
NUM_MANIFOLD_NEIGHBOURS = 3
NUM_DENSITY_NEIGHBOURS = 5


class Reference(NamedTuple):
    """The real images, as far as generated ones are compared with them.

    Attributes:
      features: of the classifier.
      manifold_radii: squared, to the third nearest of them.
      density_radii: squared, to the fifth nearest.
      classes: as the classifier predicts them.
      nearest_distances: of some of them to their nearest training image.
    """

    features: Float[np.ndarray, "real features"]
    manifold_radii: Float[np.ndarray, " real"]
    density_radii: Float[np.ndarray, " real"]
    classes: Int[np.ndarray, " real"]
    nearest_distances: Float[np.ndarray, " some"]


def make_reference(
    classifier: Classifier, images: np.ndarray, nearest_distances: Float[np.ndarray, " some"]
) -> Reference:
    """Return the real images and features that generated images are compared with.

    Raises:
      UserError: the images are none of the classifier's, or no more than the neighbours counted.
    """
    features = classifier.features(images)
    manifold_radii, density_radii = squared_radii(
        features, (NUM_MANIFOLD_NEIGHBOURS, NUM_DENSITY_NEIGHBOURS)
    )
    classes = classifier.predict(images)
    return Reference(features, manifold_radii, density_radii, classes, nearest_distances)


def generation_metrics(
    classifier: Classifier,
    reference: Reference,
    images: np.ndarray,
    nearest_distances: Float[np.ndarray, " some"],
) -> dict[str, Any]:
    """Measure generated images.

    Args:
      classifier: whose features and predictions are compared.
      reference: the real images; as many as there are generated ones, for precision and recall to
        be on one footing.
      images: the generated images.
      nearest_distances: of some of them to their nearest training image.

    Raises:
      UserError: as `make_reference`.
    """
    features = classifier.features(images)
    (radii,) = squared_radii(features, (NUM_MANIFOLD_NEIGHBOURS,))
    real = reference.features
    return {
        "classifier_frechet_distance": frechet_distance(features, real),
        **precision_recall(real, reference.manifold_radii, features, radii)._asdict(),
        **density_coverage(
            real, reference.density_radii, features, NUM_DENSITY_NEIGHBOURS
        )._asdict(),
        **class_coverage(
            reference.classes, classifier.predict(images), classifier.num_classes
        )._asdict(),
        **memorisation(nearest_distances, reference.nearest_distances)._asdict(),
    }
