"""All metrics of generated images against one set of real images."""

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

# As the papers recommend.
NUM_MANIFOLD_NEIGHBOURS = 3
NUM_DENSITY_NEIGHBOURS = 5


class Reference(NamedTuple):
    """The statistics of the real images that generated images are compared with.

    Attributes:
      features: of the classifier.
      manifold_radii: squared distances to the third nearest.
      density_radii: squared distances to the fifth nearest.
      classes: predicted by the classifier.
      nearest_distances: of some images to their nearest training image.
    """

    features: Float[np.ndarray, "real features"]
    manifold_radii: Float[np.ndarray, " real"]
    density_radii: Float[np.ndarray, " real"]
    classes: Int[np.ndarray, " real"]
    nearest_distances: Float[np.ndarray, " some"]


def make_reference(
    classifier: Classifier, images: np.ndarray, nearest_distances: Float[np.ndarray, " some"]
) -> Reference:
    """Return the statistics of real images.

    Raises:
      UserError: the classifier does not take the images, or they are too few for the neighbours.
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
    """Return the metrics of generated images.

    Args:
      classifier: its features and predictions are compared.
      reference: of the real images; precision and recall are comparable if there are as many as
        generated images.
      images: the generated images.
      nearest_distances: of some of these images to their nearest training image.

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
